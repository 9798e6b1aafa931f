"""Files from the catalog's folder."""

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
    for name in ("images/a.png", "images/deep/b.png", "images/.hidden", "images/c.txt", "train.json"):
        place.write(name, name.encode())
    return place


@pytest.mark.parametrize(
    ("local", "into", "names"),
    [
        ("train.json", "", {"train.json"}),
        ("images/a.png", "x", {"x/a.png"}),
        ("images", "", {"a.png", "deep/b.png", ".hidden", "c.txt"}),
        ("./images/", "x/y/", {"x/y/a.png", "x/y/deep/b.png", "x/y/.hidden", "x/y/c.txt"}),
        ("images/*.png", "", {"a.png"}),
        ("images/**", "", {"a.png", "deep/b.png", "c.txt"}),
        ("images/**/*.png", "x", {"x/a.png", "x/deep/b.png"}),
        ("*/[ab].png", "", {"images/a.png"}),
        ("images/.h*", "", {".hidden"}),
    ],
)
def test_target_paths_of_files_folders_and_globs(place, local, into, names):
    """Files and a folder's content go into `into`; a glob's matches keep their path below its fixed part."""
    payload = place.fetch(LocalSource(local=local, into=into))
    assert set(payload.hashes) == {f"data/{name}" for name in names}
    assert payload.urls == {}


def test_existing_name_with_brackets_is_not_a_glob(place):
    """A path is a glob only if no file has that name."""
    place.write("a[1].png")
    assert list(place.fetch(LocalSource(local="a[1].png")).hashes) == ["data/a[1].png"]


def test_unchanged_file_is_not_copied_again(place):
    """The copy keeps the modification time of its source, so that both can be compared."""
    source = LocalSource(local="images")
    place.fetch(source)
    before = (place.bag / "data/a.png").stat()
    assert before.st_mtime_ns == (place.root / "catalog/images/a.png").stat().st_mtime_ns
    place.fetch(source)
    assert (place.bag / "data/a.png").stat().st_ino == before.st_ino


@pytest.mark.parametrize("content", [b"content of another size", b"images/A.png"])
def test_changed_file_is_copied_again(place, content):
    """Another size or modification time is enough."""
    source = LocalSource(local="images")
    place.fetch(source)
    path = place.write("images/a.png", content)
    os.utime(path, ns=(1, 1))
    place.fetch(source)
    assert (place.bag / "data/a.png").read_bytes() == content


@pytest.mark.parametrize("name", ["link.png", "folder"])
@pytest.mark.parametrize("local", ["images", "images/*", "images/**/*"])
def test_link_is_refused_by_name(place, name, local):
    """A link may lead outside the catalog's folder, or to a file that is copied already."""
    (place.root / "catalog/images" / name).symlink_to("/etc" if name == "folder" else "a.png")
    with pytest.raises(FetchError, match=f"images/{name}"):
        place.fetch(LocalSource(local=local))


def test_folder_behind_a_link_is_refused(place):
    """A link above the files is refused too."""
    (place.root / "catalog/link").symlink_to("images")
    with pytest.raises(
        FetchError, match=r"local link/a.png: a symbolic link.*found .*link; use the path that it leads to"
    ):
        place.fetch(LocalSource(local="link/a.png"))


def test_device_is_refused_by_name(place):
    """Reading a pipe or a device could block for ever."""
    os.mkfifo(place.root / "catalog/images/pipe")
    with pytest.raises(FetchError, match="images/pipe is a link or a device: expected a regular file"):
        place.fetch(LocalSource(local="images"))


@pytest.mark.parametrize("local", ["nothing", "images/*.gif", "nowhere/*.png"])
def test_missing_path_is_an_error(place, local):
    """The error says where the path should be."""
    with pytest.raises(FetchError, match=r"no such file|No such file"):
        place.fetch(LocalSource(local=local))


def test_empty_folder_is_an_error(place):
    """A dataset without its files must not be built by mistake."""
    (place.root / "catalog/empty").mkdir()
    for exclude in ((), ("*.bak",)):
        with pytest.raises(FetchError, match=r"local empty: the folder holds no files; put the files into /.*/empty$"):
            place.fetch(LocalSource(local="empty", exclude=exclude))
    (place.root / "catalog/empty/below").mkdir()
    with pytest.raises(FetchError, match="local empty: the folder holds no files: found only empty folders; "):
        place.fetch(LocalSource(local="empty"))
    place.write("empty/a.bak")
    with pytest.raises(FetchError, match="local empty: 'exclude' leaves out every file"):
        place.fetch(LocalSource(local="empty", exclude=("*.bak",)))


@pytest.mark.parametrize("local", ["/etc", "../x", "images/../../x", ".", ""])
def test_path_outside_the_catalogs_folder_is_refused(local):
    """The error comes when the catalog is read."""
    with pytest.raises(ValidationError, match="not a path below the catalog's folder"):
        LocalSource(local=local)


def test_bag_cannot_be_copied_into_itself(place):
    """Copying a folder or a glob that contains data/ would never end."""
    place.bag = place.root / "catalog/data/reef/v1.partial"
    assert list(place.fetch(LocalSource(local="*")).hashes) == ["data/train.json"]
    for local in ("data", "**"):
        with pytest.raises(FetchError, match="it would copy the bag into itself"):
            place.fetch(LocalSource(local=local))


@pytest.mark.parametrize("name", ["a\nb", "a\\b", os.fsdecode(b"a\xff")])
def test_name_that_a_manifest_cannot_contain_is_refused(place, name):
    """The error shows the name in a printable form."""
    place.write(f"odd/{name}")
    with pytest.raises(ManifestError, match="is not allowed"):
        place.fetch(LocalSource(local="odd"))


def test_full_disk_is_detected_before_copying(place, tmp_path):
    """The error shows the needed and the free space."""
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
