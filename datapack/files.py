"""Whole files and folders: written under another name in the same place, synced, then renamed; read only if regular."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from datapack.errors import DatapackError, FetchError
from datapack.text import size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


_LIBC = ctypes.CDLL(None)
_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2) of linux/fs.h
_FICLONE = 0x40049409  # ioctl(2) of linux/fs.h
_WRITE_BEHIND = 16 << 20  # bytes
TEMPORARY_PREFIX = ".datapack-"  # a kill can leave such files behind; the next run removes them


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # only a write fails with these


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a new file with a temporary name in ``folder``; remove it at the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with path.open("xb") as file:
            yield file, path
    except OSError as error:
        if error.errno in _FULL and error.filename is None:  # Python names no file when a write fails
            error.filename = str(folder)
        raise
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Write a file that gets the name ``path`` only once it is complete and on disk."""
    with temporary_file(path.parent) as (file, temporary):
        yield file
        sync(file)
        temporary.replace(path)
    sync_folder(path.parent)


class WriteBehind:
    """Starts writing a large file to disk early, so that the sync at the end is short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._started = self._at = file.tell()

    def write(self, content: bytes | memoryview) -> int:
        """Write all of ``content``; return its length in bytes."""
        self._file.write(content)
        self._at += len(content)
        if self._at - self._started >= _WRITE_BEHIND:
            start_writeback(self._file.fileno(), self._started, self._at - self._started)
            self._started = self._at
        return len(content)


def start_writeback(descriptor: int, start: int, count: int) -> None:
    """Tell Linux to start writing a range of a file to disk, without waiting; do nothing on other systems."""
    if hasattr(_LIBC, "sync_file_range"):
        _LIBC.sync_file_range(
            descriptor, ctypes.c_int64(start), ctypes.c_int64(count), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE)
        )


def share_blocks(source: int, target: int) -> None:
    """Let an empty file share the blocks of another (a reflink); raise `OSError` if the disk can't."""
    fcntl.ioctl(target, _FICLONE, source)


def link_or_copy(path: Path, other: Path) -> None:
    """Make ``other`` a hard link to a file; on a disk without them, or on another disk, a copy with the same time."""
    try:
        other.hardlink_to(path)
    except FileExistsError:
        raise
    except OSError:
        with path.open("rb") as source, temporary_file(other.parent) as (file, temporary):
            try:
                share_blocks(source.fileno(), file.fileno())
            except OSError:
                shutil.copyfileobj(source, file)
            sync(file)
            shutil.copystat(path, temporary)
            temporary.replace(other)


def sync(file: BinaryIO) -> None:
    """Wait until a file's content is on disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of a killed run from ``folder``. The caller must hold the workspace."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)


_HALF = 1 << 63  # half of all times that 64 bits can hold


def check_replaceable(folder: Path, what: str, names: Collection[str]) -> None:
    """Raise `DatapackError` if anything but an earlier folder of the same kind is where a new one should go.

    Args:
        folder: the path of the new one.
        what: what it holds, for the error.
        names: the names that it may have.
    """
    if not os.path.lexists(folder):
        return
    fix = "move it away, or choose another folder with --to"
    if not folder.is_dir() or folder.is_symlink():
        raise DatapackError(f"a file or a link is where the {what} should go", where=folder, fix=fix)
    others = {path.name for path in folder.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)} - set(names)
    if others:
        raise DatapackError(f"the folder has files that are no {what}", where=folder, found=min(others), fix=fix)


@contextlib.contextmanager
def new_folder(folder: Path, what: str, names: Collection[str], *, mode: int = 0o777) -> Iterator[Path]:
    """Make a folder under another name, and then let it replace an earlier one: nobody sees half of it.

    Args:
        folder: its final path.
        what: what it holds, for errors.
        names: the names that it may have: a folder with others is not replaced.
        mode: who may read it, before the umask.

    Raises:
        DatapackError: something else is there, or the disk fails.
    """
    part, old = (folder.with_name(f"{folder.name}.{ending}") for ending in ("partial", "old"))
    for there in (folder, part, old):  # the last two of a run that was killed
        check_replaceable(there, what, names)
    with disk_errors(folder, DatapackError):
        try:
            _remove_folders(part, old)
            part.mkdir(parents=True, mode=mode)
            yield part
            if folder.is_dir():
                folder.rename(old)
            part.rename(folder)
            sync_folder(folder.parent)
        finally:
            _remove_folders(part, old)


def _remove_folders(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class FileStat(NamedTuple):
    """A file's size in bytes and its modification time in ns since 1970, in 64 bits: after 2262 it starts again."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileStat:
        return cls(stat.st_size, (stat.st_mtime_ns + _HALF) % (2 * _HALF) - _HALF)


def home_folder() -> Path:
    """Return the user's home; the root of the disk for a user without one, as in a container with a bare uid.

    Never a relative path: a folder named ``~`` beside the catalog is not a home.
    """
    try:
        home = Path.home()
    except RuntimeError:
        return Path("/")
    return home if home.is_absolute() else Path("/")


_KINDS = {  # of what is not a regular file
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, error: type[DatapackError], *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading; raise ``error`` for anything else, without waiting for it or reading it.

    A FIFO would wait for its writer, ``/dev/zero`` would never end. Without ``follow``, a link is refused too.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as cause:
        raise _unreadable(cause, path, error, follow) from cause
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _irregular(mode, path, error)
    return os.fdopen(descriptor, "rb")


def read_limited(path: Path, limit: int, error: type[DatapackError], *, follow: bool = True) -> bytes:
    """Read a regular file of at most ``limit`` bytes; raise ``error`` for anything else, as `open_regular` does."""
    with open_regular(path, error, follow=follow) as file:
        found = os.fstat(file.fileno()).st_size
        try:
            content = file.read(limit + 1) if found <= limit else b""
        except OSError as cause:
            raise _unreadable(cause, path, error, follow) from cause
    found = max(found, len(content))  # some files of the kernel look empty
    if found > limit:
        raise error("the file is too large", where=path, expected=f"at most {size(limit)}", found=size(found))
    return content


def _unreadable(cause: OSError, path: Path, error: type[DatapackError], follow: bool) -> DatapackError:
    """Return the error for what can't be opened; a socket, and a link that is not followed, can't be."""
    with contextlib.suppress(OSError):
        mode = path.stat(follow_symlinks=follow).st_mode
        if cause.errno in {errno.ELOOP, errno.ENXIO} and not stat.S_ISREG(mode):
            return _irregular(mode, path, error)
    return error("can't read the file", where=path, found=cause.strerror)


def _irregular(mode: int, path: Path, error: type[DatapackError]) -> DatapackError:
    found = _KINDS.get(stat.S_IFMT(mode), "something else")
    return error("not a regular file", where=path, found=found)


_MAKE_ROOM = "make room, then run the same command again: finished work is kept"


def check_space(folder: Path, needed: int, error: type[DatapackError] = FetchError) -> None:
    """Raise ``error`` unless the disk of an existing folder has room for ``needed`` bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise error(
            "not enough space on the disk",
            where=folder,
            expected=size(needed),
            found=f"{size(free)} free",
            fix=_MAKE_ROOM,
        )


@contextlib.contextmanager
def disk_errors(path: Path, error: type[DatapackError] = FetchError) -> Iterator[None]:
    """Turn an `OSError` about ``path`` into an ``error`` that says what to do."""
    try:
        yield
    except OSError as cause:
        raise _disk_error(cause, path, error) from cause


def _disk_error(cause: OSError, path: Path, error: type[DatapackError]) -> DatapackError:
    if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        return error("the disk is full", where=path.parent, found=_free(path), fix=_MAKE_ROOM)
    if cause.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        fix = "work in a folder that you can write to"
        return error("can't write here", where=path.parent, found=cause.strerror, fix=fix)
    return error("can't read or write the file", where=path, found=cause.strerror or str(cause))


def _free(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return f"{size(shutil.disk_usage(path.parent).free)} free"
    return None
