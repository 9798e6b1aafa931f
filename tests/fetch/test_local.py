"""Files that lie beside the catalog."""

import os
import subprocess

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import LocalSource
from datapack.errors import FetchError, ManifestError
from tests.workplace import Workplace, mount


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path)
    for name in ("pictures/a.png", "pictures/deep/b.png", "pictures/.hidden", "pictures/c.txt", "train.json"):
        place.write(name, name.encode())
    return place


@pytest.mark.parametrize(
    ("local", "into", "names"),
    [
        ("train.json", "", {"train.json"}),
        ("pictures/a.png", "x", {"x/a.png"}),
        ("pictures", "", {"a.png", "deep/b.png", ".hidden", "c.txt"}),
        ("./pictures/", "x/y/", {"x/y/a.png", "x/y/deep/b.png", "x/y/.hidden", "x/y/c.txt"}),
        ("pictures/*.png", "", {"a.png"}),
        ("pictures/**", "", {"a.png", "deep/b.png", "c.txt"}),
        ("pictures/**/*.png", "x", {"x/a.png", "x/deep/b.png"}),
        ("*/[ab].png", "", {"pictures/a.png"}),
        ("pictures/.h*", "", {".hidden"}),
    ],
)
def test_where_files_folders_and_globs_go(place, local, into, names):
    """A file goes into the folder, a folder's content too, a glob's matches by their path below its fixed part."""
    payload = place.fetch(LocalSource(local=local, into=into))
    assert set(payload.hashes) == {f"data/{name}" for name in names}
    assert payload.urls == {}


def test_a_name_with_brackets_is_taken_as_it_is_if_it_is_there(place):
    """A glob is only what is no name."""
    place.write("a[1].png")
    assert list(place.fetch(LocalSource(local="a[1].png")).hashes) == ["data/a[1].png"]


def test_what_did_not_change_is_not_copied_again(place):
    """The copy has its source's time, so the two can be compared; the file itself stays the same one."""
    source = LocalSource(local="pictures")
    place.fetch(source)
    before = (place.bag / "data/a.png").stat()
    assert before.st_mtime_ns == (place.root / "catalog/pictures/a.png").stat().st_mtime_ns
    place.fetch(source)
    assert (place.bag / "data/a.png").stat().st_ino == before.st_ino


@pytest.mark.parametrize("content", [b"another size", b"pictures/A.png"])
def test_a_source_that_changed_is_copied_again(place, content):
    """Another size or another time is enough."""
    source = LocalSource(local="pictures")
    place.fetch(source)
    path = place.write("pictures/a.png", content)
    os.utime(path, ns=(1, 1))
    place.fetch(source)
    assert (place.bag / "data/a.png").read_bytes() == content


@pytest.mark.parametrize("name", ["link.png", "folder"])
@pytest.mark.parametrize("local", ["pictures", "pictures/*", "pictures/**/*"])
def test_a_link_is_an_error_that_names_it(place, name, local):
    """Wherever it leads: it would be read from outside the catalog's folder, or twice."""
    (place.root / "catalog/pictures" / name).symlink_to("/etc" if name == "folder" else "a.png")
    with pytest.raises(FetchError, match=f"pictures/{name}"):
        place.fetch(LocalSource(local=local))


def test_a_folder_that_is_reached_by_a_link_is_an_error(place):
    """A link above the files counts as well."""
    (place.root / "catalog/link").symlink_to("pictures")
    with pytest.raises(FetchError, match=r"local link/a.png: a symbolic link.*found .*link; name what it leads to"):
        place.fetch(LocalSource(local="link/a.png"))


def test_a_device_is_an_error_that_names_it(place):
    """A pipe would be waited for, a device read for ever."""
    os.mkfifo(place.root / "catalog/pictures/pipe")
    with pytest.raises(FetchError, match="pictures/pipe is a link or a device: expected a regular file"):
        place.fetch(LocalSource(local="pictures"))


@pytest.mark.parametrize("local", ["nothing", "pictures/*.gif", "nowhere/*.png"])
def test_nothing_there_is_an_error(place, local):
    """It says where it was looked for."""
    with pytest.raises(FetchError, match=r"no such file|No such file"):
        place.fetch(LocalSource(local=local))


def test_an_empty_folder_is_an_error(place):
    """A dataset without its files must not be made by mistake."""
    (place.root / "catalog/empty").mkdir()
    with pytest.raises(FetchError, match="local empty: no such file"):
        place.fetch(LocalSource(local="empty"))


@pytest.mark.parametrize("local", ["/etc", "../x", "pictures/../../x", ".", ""])
def test_a_path_outside_the_catalogs_folder_is_refused(local):
    """Where the catalog is read."""
    with pytest.raises(ValidationError, match="not a path below the catalog's folder"):
        LocalSource(local=local)


def test_the_bag_can_not_be_brought_into_itself(place):
    """A folder or a glob that holds data/ would be copied for ever."""
    place.bag = place.root / "catalog/data/reef/v1.partial"
    assert list(place.fetch(LocalSource(local="*")).hashes) == ["data/train.json"]
    for local in ("data", "**"):
        with pytest.raises(FetchError, match="it would copy the bag into itself"):
            place.fetch(LocalSource(local=local))


@pytest.mark.parametrize("name", ["a\nb", "a\\b", os.fsdecode(b"a\xff")])
def test_names_that_no_manifest_can_hold_are_refused(place, name):
    """The name is shown in a form that can be printed."""
    place.write(f"odd/{name}")
    with pytest.raises(ManifestError, match="can't be used"):
        place.fetch(LocalSource(local="odd"))


def test_a_full_disk_is_known_before_anything_is_copied(place, tmp_path):
    """The sizes are known, so nothing need be tried; the error has both."""
    (tmp_path / "data").mkdir()
    if not mount(tmp_path / "data", "size=1m"):
        pytest.skip("a small disk can only be mounted by root")
    try:
        for name in "abc":
            place.write(f"large/{name}", bytes(500_000))
        with pytest.raises(FetchError, match=r"not enough space on the disk: expected 1.5 MB, found .* free"):
            place.fetch(LocalSource(local="large"))
        assert place.hashes() == {}
    finally:
        subprocess.run(["umount", "-l", tmp_path / "data"], check=True)
