"""Atomic file writes."""

import errno
import os
import socket
from pathlib import Path

import pytest

from datapack.errors import BagError
from datapack.files import (
    TEMPORARY_PREFIX,
    FileStat,
    WriteBehind,
    atomic_writer,
    link_or_copy,
    open_regular,
    read_limited,
    remove_temporaries,
    sync,
    temporary_file,
)


def test_file_gets_its_name_only_when_it_is_complete(tmp_path):
    """During the write, the name is free or has the old content."""
    path = tmp_path / "deep" / "a"
    with atomic_writer(path) as file:
        file.write(b"one")
        assert not path.exists()
    with atomic_writer(path) as file:
        file.write(b"two")
        file.flush()
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"


def test_failed_write_leaves_nothing(tmp_path):
    """An error during the write leaves the old content and no temporary file."""
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with pytest.raises(TypeError), atomic_writer(path) as file:
        file.write("not bytes")
    assert path.read_bytes() == b"one"
    assert [left.name for left in tmp_path.iterdir()] == ["a"]


def test_mode_follows_the_umask(tmp_path):
    """A file gets the same mode as other files of the process."""
    former = os.umask(0o027)
    try:
        with atomic_writer(tmp_path / "a") as file:
            file.write(b"")
    finally:
        os.umask(former)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    """Only temporary files are removed."""
    (tmp_path / f"{TEMPORARY_PREFIX}123").write_bytes(b"half")
    (tmp_path / "mine").write_bytes(b"whole")
    remove_temporaries(tmp_path)
    assert [left.name for left in tmp_path.iterdir()] == ["mine"]


def test_write_behind_writes_the_same_bytes(tmp_path):
    """A large write gives the same bytes, also from the middle of a file."""
    blocks = [os.urandom(5 << 20) for _ in range(9)]
    with temporary_file(tmp_path) as (file, temporary):
        file.write(b"header")
        out = WriteBehind(file)
        assert [out.write(block) for block in blocks] == [5 << 20] * 9
        sync(file)
        assert temporary.read_bytes() == b"header" + b"".join(blocks)


def irregular(folder):
    """Return what may stand in a file's place, with what an error calls it."""
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "to-zero").symlink_to("/dev/zero")
    (folder / "to-fifo").symlink_to("fifo")
    (folder / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    return {
        folder / "fifo": "not a regular file: found a FIFO",
        folder / "folder": "not a regular file: found a folder",
        folder / "to-zero": "not a regular file: found a device",
        folder / "to-fifo": "not a regular file: found a FIFO",
        folder / "socket": "not a regular file: found a socket",
        folder / "loop": "can't read the file: found Too many levels of symbolic links",
        folder / "missing": "can't read the file: found No such file or directory",
    }


def test_only_regular_files_are_opened(tmp_path):
    """FIFOs, devices, sockets, folders and links to them are refused at once, with what they are."""
    for path, message in irregular(tmp_path).items():
        for read in (open_regular, lambda *arguments: read_limited(arguments[0], 1, arguments[1])):
            with pytest.raises(BagError) as error:
                read(path, BagError)
            assert str(error.value) == f"{path}: {message}"


def test_links_are_followed_only_where_they_may_be(tmp_path):
    """A link to a file is that file; without ``follow`` it is refused as a link, also where it leads nowhere."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nothing")
    assert read_limited(tmp_path / "link", 7, BagError) == b"content"
    for name in ("link", "broken"):
        with pytest.raises(BagError, match="not a regular file: found a link"):
            open_regular(tmp_path / name, BagError, follow=False)


def test_a_file_is_read_up_to_a_limit(tmp_path):
    """A file of exactly the limit is read; a larger one, even one that looks empty, is refused before it is read."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_limited(path, 1000, BagError) == b"x" * 1000
    with pytest.raises(BagError, match="the file is too large: expected at most 999 B, found 1 kB"):
        read_limited(path, 999, BagError)
    os.truncate(path, 1 << 40)
    with pytest.raises(BagError, match=r"found 1\.1 TB"):
        read_limited(path, 1000, BagError)
    with pytest.raises(BagError, match="the file is too large"):
        read_limited(Path("/proc/self/smaps"), 100, BagError)


@pytest.mark.parametrize("year", [1850, 1969, 2026, 2263, 2400])
def test_any_time_fits_into_64_bits(tmp_path, year):
    """A time after 2262 fits where the cache keeps it, and still differs from other times."""
    path, second = tmp_path / "file", (year - 1970) * 365 * 86_400
    path.write_bytes(b"")
    os.utime(path, (second, second))
    if int(path.stat().st_mtime) != second:
        pytest.skip("this disk can't hold the time")
    stat = FileStat.of(path.stat())
    assert -(2**63) <= stat.mtime_ns < 2**63
    os.utime(path, (second + 1, second + 1))
    assert FileStat.of(path.stat()) != stat


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_named(tmp_path, number):
    """Python's error of a write has no file name, and the user may have several disks."""
    with pytest.raises(OSError, match=os.strerror(number)) as caught, atomic_writer(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert caught.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_a_copy_where_the_disk_has_no_links(tmp_path, monkeypatch):
    """The copy has the same bytes and time, and never half of them under its name; a name in use stays as it is."""
    path = tmp_path / "file"
    path.write_bytes(b"content" * 1000)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    link_or_copy(path, tmp_path / "link")
    assert path.samefile(tmp_path / "link")

    def fail(self, other):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", fail)
    link_or_copy(path, tmp_path / "copy")
    assert not path.samefile(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert (tmp_path / "copy").stat().st_mtime_ns == path.stat().st_mtime_ns
    monkeypatch.undo()
    (tmp_path / "other").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        link_or_copy(path, tmp_path / "other")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["copy", "file", "link", "other"]
