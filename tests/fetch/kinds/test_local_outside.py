"""Local files outside the catalog's folder, where the catalog says so."""

import json

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import LocalSource
from datapack.errors import FetchError
from tests.workplace import Workplace


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path / "place")
    for name in ("scan 1.png", "deep/b.png", "deep/c.txt"):
        path = tmp_path / "scans[1]" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return place


@pytest.fixture(autouse=True)
def _root(tmp_path):
    (tmp_path / "place").mkdir()


@pytest.mark.parametrize(
    ("local", "names"),
    [
        ("../../scans[1]", {"scan 1.png", "deep/b.png", "deep/c.txt"}),
        ("{root}/scans[1]", {"scan 1.png", "deep/b.png", "deep/c.txt"}),
        ("../../scans[1]/deep/b.png", {"b.png"}),
        ("../../scans[[]1]/deep/*.png", {"scans[1]/deep/b.png"}),
        ("{root}/*/deep/*.txt", {"scans[1]/deep/c.txt"}),
    ],
)
def test_files_outside_are_copied_where_the_catalog_says_so(place, tmp_path, local, names):
    """Relative and absolute paths, folders, files and globs work as inside; one note says what follows."""
    source = LocalSource(local=local.format(root=tmp_path), outside=True)
    payload = place.fetch(source)
    assert set(payload.hashes) == {f"data/{name}" for name in names}
    assert len([note for note in place.notes if "others can't rebuild" in note]) == 1


@pytest.mark.parametrize("local", ["/mnt/scans", "../scans", "images/../../scans"])
def test_path_outside_is_refused_without_the_key(local):
    """The error names the key that allows it."""
    for keys in ({}, {"outside": False}):
        with pytest.raises(ValidationError, match=r"not a path below the catalog's folder.*'outside: true'"):
            LocalSource(local=local, **keys)


@pytest.mark.parametrize("outside", ["yes", 1, None])
def test_the_key_is_a_plain_truth_value(outside):
    """Nothing but true opens the rest of the machine."""
    with pytest.raises(ValidationError, match="outside"):
        LocalSource(local="../scans", outside=outside)


def test_note_comes_once_for_several_sources_and_not_for_one_inside(place):
    """A source inside the folder may have the key too: others can rebuild it."""
    place.write("here/a", b"a")
    place.fetch(LocalSource(local="here", outside=True))
    assert not place.notes
    place.fetch(
        LocalSource(local="../../scans[1]/deep", outside=True, into="x"),
        LocalSource(local="../../scans[1]/deep", outside=True, into="y"),
    )
    assert len([note for note in place.notes if "others can't rebuild" in note]) == 1


@pytest.mark.parametrize("local", ["../../link/deep", "../../scans[1]", "../../scans[[]1]/**/*"])
def test_link_on_the_way_or_below_is_refused_as_inside(place, tmp_path, local):
    """A link may lead to files that nobody meant."""
    (tmp_path / "link").symlink_to("scans[1]")
    (tmp_path / "scans[1]/other").symlink_to("/etc")
    with pytest.raises(FetchError, match=r"a symbolic link|is a link or a device"):
        place.fetch(LocalSource(local=local, outside=True))


@pytest.mark.parametrize("local", ["..", "/", "../data"])
def test_bag_cannot_be_copied_into_itself_from_outside(place, local):
    """A folder above the catalog holds the bag too."""
    with pytest.raises(FetchError, match="it would copy the bag into itself"):
        place.fetch(LocalSource(local=local, outside=True))


def test_missing_folder_outside_is_one_line_without_wrong_advice(place):
    """It need not be below the catalog's folder."""
    with pytest.raises(FetchError, match="No such file") as caught:
        place.fetch(LocalSource(local="../nothing", outside=True))
    assert "must be below" not in str(caught.value)


def test_provenance_names_the_place_and_that_it_is_outside(catalog, tmp_path):
    """Whoever reads the provenance learns that the files are from another folder of the builder's machine."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/a.png").write_bytes(b"a")
    file = catalog.root / "datasets.yml"
    file.write_text(file.read_text().replace("local: source", "local: ../scans\n            outside: true"))
    done = catalog.run("build", "reef@v1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("others can't rebuild the version from there") == 1
    statement = json.loads((catalog.root / "dist/reef-v1.provenance.json").read_text())
    (source,) = statement["predicate"]["buildDefinition"]["externalParameters"]["sources"]
    assert source == {"local": "../scans", "outside": True}
