"""Local data that is on the disk once: hard links where the catalog says so, shared blocks where the disk can."""

import os
import shutil
import stat
import subprocess

import pytest

from datapack.catalog.sources import LocalSource
from datapack.errors import FetchError
from datapack.fetch import copies
from tests.conftest import make_catalog
from tests.workplace import Workplace, mount

SIZE = 4 << 20


def used(*folders) -> int:
    """Return the bytes that files below these folders take together; a file with several names counts once."""
    done = subprocess.run(["du", "-s", "-c", "-B1", *folders], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def same(path, other) -> bool:
    return path.samefile(other)


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path)
    for name in ("images/a.png", "images/deep/b.png"):
        place.write(name, name.encode()).chmod(0o640)
    return place


def test_files_are_linked_where_the_catalog_says_so(place):
    """The payload has the user's own files; their bytes are read and hashed all the same."""
    copied = place.fetch(LocalSource(local="images"))
    linked = place.fetch(LocalSource(local="images", link=True))
    assert linked == copied
    for name in ("a.png", "deep/b.png"):
        file = place.root / "catalog/images" / name
        assert same(file, place.bag / "data" / name)
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
    place.fetch(LocalSource(local="images"))  # without the key, they are copies again
    assert not same(place.root / "catalog/images/a.png", place.bag / "data/a.png")


def test_linked_file_is_not_read_again(place, monkeypatch):
    """A second fetch finds the links in place."""
    source = LocalSource(local="images", link=True)
    first = place.fetch(source)
    monkeypatch.setattr(copies, "_write", None)
    assert place.fetch(source) == first


def test_linked_file_that_was_changed_in_place_is_hashed_again(place):
    """The file in the payload has changed with its source, so its old hash counts no more."""
    source = LocalSource(local="images", link=True)
    before = place.fetch(source).hashes["data/a.png"]
    place.write("images/a.png", b"another content")
    assert place.fetch(source).hashes["data/a.png"] != before


def test_files_on_another_disk_are_copied_with_a_note(place, tmp_path):
    """A hard link can't lead to another disk."""
    (tmp_path / "catalog/other").mkdir()
    if not mount(tmp_path / "catalog/other", "size=1m"):
        pytest.skip("a disk can only be mounted by root")
    try:
        place.write("other/a", b"a")
        payload = place.fetch(LocalSource(local="other", link=True))
        assert set(payload.hashes) == {"data/a"}
        assert any(
            "local other: can't be linked from its disk, so the files are copied" in note for note in place.notes
        )
        assert (place.bag / "data/a").stat().st_nlink == 1
    finally:
        subprocess.run(["umount", "-l", tmp_path / "catalog/other"], check=True)


def test_file_on_another_disk_below_a_linked_folder_is_copied(place, tmp_path):
    """Each file is linked if that is possible, whatever the first of them could do."""
    (tmp_path / "catalog/images/z").mkdir()
    if not mount(tmp_path / "catalog/images/z", "size=1m"):
        pytest.skip("a disk can only be mounted by root")
    try:
        place.write("images/z/c.png", b"c")
        assert "data/z/c.png" in place.fetch(LocalSource(local="images", link=True)).hashes
        assert same(place.root / "catalog/images/a.png", place.bag / "data/a.png")
    finally:
        subprocess.run(["umount", "-l", tmp_path / "catalog/images/z"], check=True)


def test_linked_source_is_still_checked_for_links_and_devices(place):
    """A hard link to a symbolic link would be a link in the bag."""
    (place.root / "catalog/images/link").symlink_to("a.png")
    with pytest.raises(FetchError, match="is a link or a device"):
        place.fetch(LocalSource(local="images", link=True))


@pytest.fixture
def linked(tmp_path):
    """A catalog with one large file and one small private one, linked."""
    catalog = make_catalog(tmp_path / "catalog")
    (catalog.root / "source/large.bin").write_bytes(os.urandom(SIZE))
    (catalog.root / "source/z").chmod(0o600)
    file = catalog.root / "datasets.yml"
    file.write_text(file.read_text().replace("local: source", "{local: source, link: true}"))
    return catalog


def test_a_build_of_linked_data_takes_twice_its_size(linked):
    """The source, the bag and DVC's cache are one file; the image is the second copy."""
    linked.ok("build", "reef@v1")
    root = linked.root
    assert same(root / "source/large.bin", root / "data/reef/v1/data/large.bin")
    assert used(root / "source", root / "data", root / ".dvc") < 1.1 * SIZE
    assert used(root / "source", root / "data", root / ".dvc", root / "dist") < 2.1 * SIZE


def test_copied_data_takes_one_more(linked):
    """Without the key, on a disk whose files can't share blocks, the source is apart."""
    file = linked.root / "datasets.yml"
    file.write_text(file.read_text().replace("{local: source, link: true}", "local: source"))
    linked.ok("fetch", "reef@v1")
    assert not same(linked.root / "source/large.bin", linked.root / "data/reef/v1/data/large.bin")


def test_modes_of_the_users_files_stay(linked):
    """DVC's cache makes files readable to everybody; that must not open a private one."""
    modes = {path: path.stat().st_mode for path in (linked.root / "source").rglob("*")}
    linked.ok("build", "reef@v1")
    linked.ok("build", "reef@v1", "--verify")
    assert {path: path.stat().st_mode for path in (linked.root / "source").rglob("*")} == modes


def test_file_that_was_changed_in_place_stops_the_next_build(linked):
    """Its size or time tells; nothing of it gets into an image."""
    linked.ok("fetch", "reef@v1")
    with (linked.root / "source/large.bin").open("r+b") as file:
        file.write(b"changed")
    assert "large.bin" in linked.fails("build", "reef@v1", status=3)
    assert "large.bin" in linked.fails("verify", "reef@v1", status=3)


def test_change_that_hides_its_time_is_found_by_verify(linked):
    """Size and time are the same, the bytes are not: only reading them tells."""
    linked.ok("build", "reef@v1")
    path = linked.root / "source/large.bin"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"changed")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "large.bin" in linked.fails("build", "reef@v1", "--verify", status=3)
    assert linked.run("verify", "reef@v1").returncode == 3


@pytest.fixture
def btrfs(tmp_path):
    """A small disk whose files can share blocks."""
    image, folder = tmp_path / "disk", tmp_path / "btrfs"
    folder.mkdir()
    image.touch()
    os.truncate(image, 120 << 20)
    for command in (["mkfs.btrfs", "-q", image], ["mount", "-o", "loop", image, folder]):
        if not shutil.which(command[0]) or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("needs root and btrfs-progs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_copies_share_blocks_where_the_disk_can(btrfs, linked):
    """Nobody has to ask for it: the file in the bag is another one, whose bytes were read, and takes no space."""
    file = linked.root / "datasets.yml"
    file.write_text(file.read_text().replace("{local: source, link: true}", "local: source"))
    catalog = linked.copy(btrfs / "catalog")
    subprocess.run(["sync", "-f", btrfs], check=True)
    before = os.statvfs(btrfs)
    catalog.ok("fetch", "reef@v1")
    subprocess.run(["sync", "-f", btrfs], check=True)
    after = os.statvfs(btrfs)
    source, copy = catalog.root / "source/large.bin", catalog.root / "data/reef/v1/data/large.bin"
    assert not same(source, copy)
    assert source.read_bytes() == copy.read_bytes()
    assert (before.f_bfree - after.f_bfree) * before.f_frsize < SIZE
    assert "reef@v1" in catalog.ok("verify", "reef@v1")


def test_clone_of_a_file_that_changes_later_stays(btrfs):
    """The blocks are shared only until one of the two files is written to."""
    place = Workplace(btrfs)
    path = place.write("a", b"a" * 10000)
    before = place.fetch(LocalSource(local="a")).hashes
    with path.open("r+b") as file:
        file.write(b"b")
    assert place.hashes() == before
