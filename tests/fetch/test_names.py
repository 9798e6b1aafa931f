"""Names that DVC can't keep, and what `exclude` leaves out."""

import json
import re

import pytest

from datapack.catalog.sources import CocoSource, LocalSource, UrlSource
from datapack.errors import FetchError
from datapack.fetch.names import check_name
from tests.servers import Reply, Server, png
from tests.workplace import Workplace


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (".git", ".git"),
        (".git/config", ".git"),
        ("a/.git/x/y", ".git"),
        ("a/.hg/x", ".hg"),
        (".dvc", ".dvc"),
        ("a/.dvc/config", ".dvc"),
        (".dvcignore", ".dvcignore"),
        ("a/.dvcignore/b", ".dvcignore"),
        ("dvc.yaml", "dvc.yaml"),
        ("a/dvc.yaml", "dvc.yaml"),
        ("images.dvc", "images.dvc"),
        ("a/.dvc.dvc", ".dvc.dvc"),
    ],
)
def test_name_that_dvc_would_skip_or_read_is_refused(path, name):
    """DVC loses such a file without a word, or fails with an error about something else."""
    with pytest.raises(FetchError, match=re.escape(f"can't be in a dataset: found the name {name}, which DVC")):
        check_name(path, "local source")


ALLOWED = [
    *(
        ".gitignore",
        ".gitattributes",
        ".gitmodules",
        ".hg",
        "dvc.lock",
        "params.yaml",
        "dvc.yaml/x",
        "a.dvc/x",
        "dvc.yml",
    ),
    *(".github/x", ".DVC/x", "a.git", "x.dvcignore", ".svn/x", ".dvctmp/x", "advc.yaml", "Dvcfile"),
]


@pytest.mark.parametrize("path", ALLOWED)
def test_similar_names_are_allowed(path):
    """DVC keeps them like any other file."""
    check_name(path, "local source")


@pytest.mark.slow
def test_dvc_keeps_every_similar_name(catalog):
    """Each of them is tracked, and restored from DVC's cache alone."""
    names = [name for name in ALLOWED if name != ".hg"]
    for name in names:
        path = catalog.root / "source/odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("*\n")
    catalog.ok("fetch", "reef@v1")
    for folder in ("source", "data/reef/v1"):
        (catalog.root / folder).rename(catalog.root / f"{folder.replace('/', '-')}-before")
    assert "restoring data/reef/v1 from DVC" in catalog.run("fetch", "reef@v1").stderr
    assert [name for name in names if not (catalog.root / "data/reef/v1/data/odd" / name).is_file()] == []


def test_names_are_refused_before_the_first_byte(place, server):
    """Also those of a source that comes after a download."""
    server.reply("/large.bin", Reply(b"large"))
    place.write("code/.git/config")
    with pytest.raises(FetchError, match=r"local code: \.git/config can't be in a dataset.*'exclude: \[\.git\]'"):
        place.fetch(UrlSource(url=f"{server.url}/large.bin"), LocalSource(local="code"))
    with pytest.raises(FetchError, match=r"dvc\.yaml can't be in a dataset"):
        place.fetch(UrlSource(url=f"{server.url}/large.bin"), UrlSource(url=f"{server.url}/dvc.yaml"))
    assert not server.requests


def test_names_in_a_coco_file_are_refused_before_its_images(place, server):
    """They are known as soon as the file is there."""
    rows = [{"file_name": name, "coco_url": f"{server.url}/{name}"} for name in ("a.png", "b.dvc")]
    place.write("train.json", json.dumps({"images": rows}).encode())
    with pytest.raises(FetchError, match=r"images\[1\].*images/b\.dvc can't be in a dataset"):
        place.fetch(LocalSource(local="train.json"), CocoSource(coco="train.json", into="images"))
    assert not server.requests


def test_exclude_leaves_files_out_of_a_folder(place):
    """Excluded folders are not even listed, and nothing in them is refused."""
    for name in ("a.png", "b.bak", "raw/c.png", ".git/config", "deep/.git/config", "deep/d.png"):
        place.write(f"source/{name}")
    (place.root / "catalog/source/link.bak").symlink_to("/etc")
    payload = place.fetch(LocalSource(local="source", into="x", exclude=(".git", "*.bak", "raw/*")))
    assert set(payload.hashes) == {"data/x/a.png", "data/x/deep/d.png"}
    assert place.notes == []


def test_exclude_leaves_files_out_of_a_glob(place):
    """Patterns are matched with the path below the glob's fixed part."""
    for name in ("a.png", "b.bak", "raw/c.png", "raw/raw/d.png"):
        place.write(f"source/{name}")
    payload = place.fetch(LocalSource(local="source/**", exclude=("*.bak", "raw/*.png")))
    assert set(payload.hashes) == {"data/a.png", "data/raw/raw/d.png"}


def test_exclude_leaves_images_of_a_coco_file_out(place, server):
    """Patterns are matched with `file_name`; excluded images are not requested."""
    rows = []
    for name in ("a.png", "old/b.png"):
        server.reply(f"/{name}", Reply(png()))
        rows.append({"file_name": name, "coco_url": f"{server.url}/{name}"})
    place.write("train.json", json.dumps({"images": rows}).encode())
    coco = CocoSource(coco="train.json", into="images", exclude=("old",))
    payload = place.fetch(LocalSource(local="train.json"), coco)
    assert set(payload.hashes) == {"data/train.json", "data/images/a.png"}
    assert set(server.requests) == {"/a.png"}


def test_file_that_is_excluded_later_leaves_the_payload(place):
    """A payload of an earlier run keeps nothing that the catalog excludes now."""
    for name in ("a.png", ".env"):
        place.write(f"source/{name}")
    assert len(place.fetch(LocalSource(local="source")).hashes) == 2
    assert set(place.fetch(LocalSource(local="source", exclude=(".env",))).hashes) == {"data/a.png"}


def test_pattern_that_matches_nothing_is_noted(place):
    """A misspelt pattern would leave in the dataset what it should leave out."""
    place.write("source/.DS_Store")
    place.write("source/a.png")
    place.fetch(LocalSource(local="source", exclude=(".DS_store",)))
    assert place.notes[0] == "local source: the pattern '.DS_store' in 'exclude' matches no file"


def test_exclude_of_everything_is_an_error(place, server):
    """A dataset without its files must not be built by mistake."""
    place.write("source/a.png")
    server.reply("/a.csv", Reply(b"a"))
    for source in (
        LocalSource(local="source", exclude=("**",)),
        UrlSource(url=f"{server.url}/a.csv", exclude=("*.csv",)),
    ):
        with pytest.raises(FetchError, match="'exclude' leaves out every file"):
            place.fetch(source)


def test_exclude_changes_the_fingerprint_only_where_it_is_used():
    """An entry without it is as before, so no version is fetched again; one with it is another entry."""
    plain = LocalSource(local="source")
    assert "exclude" not in plain.model_dump(mode="json", exclude_defaults=True)
    assert "exclude" in LocalSource(local="source", exclude=("a",)).model_dump(mode="json", exclude_defaults=True)


def test_empty_folders_are_noted(place):
    """A bag has only files; an empty folder may have a meaning for the one who made it."""
    place.write("source/a.png")
    for name in ("source/none", "source/deep/none", "source/deeper/x/y"):
        (place.root / "catalog" / name).mkdir(parents=True)
    expected = (
        "local source: 3 empty folders are left out, such as deep/none: a dataset holds only files; to keep a "
        "folder, put a file into it"
    )
    place.fetch(LocalSource(local="source"))
    assert place.notes == [expected]
    place.notes.clear()
    place.fetch(LocalSource(local="source/**"))
    assert place.notes == [expected.replace("local source:", "local source/**:")]


def test_very_deep_folders_are_refused(place):
    """The error is one line, whatever the depth; 100 folders are fine."""
    place.write("source/" + "d/" * 100 + "a.png")
    assert len(place.fetch(LocalSource(local="source")).hashes) == 1
    place.write("deep/" + "d/" * 300 + "a.png")
    with pytest.raises(FetchError, match=r"local deep: a file in more than 100 folders: found d/d/d/[d/]*\.\.\.; "):
        place.fetch(LocalSource(local="deep"))
