"""Copies of local files in a payload: of their bytes, by sharing blocks of the disk, or as hard links.

Whichever way, every byte of the file in the payload is read and hashed once.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from datapack.errors import FetchError
from datapack.executor import run_all
from datapack.files import FileStat, disk_errors, share_blocks, start_writeback, sync, temporary_file
from datapack.hashing import new_buffer, read_blocks, regular_opener

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from datapack.executor import Advance

_BATCH_FILES = 64
_BATCH_BYTES = 32 << 20
_WORKERS = 4  # more than cores, because a worker waits for the disk while it syncs


class Way(enum.Enum):
    """How a file gets into the payload."""

    COPY = "copy"
    CLONE = "clone"  # another file that shares its blocks until one of them is written to (a reflink)
    LINK = "link"  # the same file under another name


class Copy(NamedTuple):
    """A file to copy, and its size."""

    source: str
    target: Path
    size: int


class Copied(NamedTuple):
    """A file that is in the payload: the sha256 of its bytes, and its size and time."""

    sha256: str
    stat: FileStat


def choose_way(example: str, folder: Path, *, link: bool) -> Way:
    """Return how files can get into a folder: as links if that is wanted, else without their blocks, else as copies.

    Args:
        example: one of the files.
        folder: where they go.
        link: whether links are wanted.
    """
    with _open_source(example) as opened, temporary_file(folder) as (file, temporary):
        if link and _link_over(example, temporary):
            return Way.LINK
        with contextlib.suppress(OSError):
            share_blocks(opened.fileno(), file.fileno())
            return Way.CLONE
    return Way.COPY


def _link_over(source: str, temporary: Path) -> bool:
    """Give a file a temporary name too, whose file must exist; return whether the disk allows it."""
    other = temporary.with_name(f"{temporary.name}+")  # still a temporary name
    try:
        os.link(source, other, follow_symlinks=False)
    except OSError:
        return False
    other.replace(temporary)
    return True


def copy_all(copies: Iterable[Copy], way: Way, advance: Callable[[int], None]) -> Iterator[Copied]:
    """Copy files and yield the results in the order of the files. A file that can't be linked or cloned is copied.

    Raises:
        FetchError: a file can't be read, or it changed meanwhile.
    """
    done = run_all(_copy_batch, _batches(copies, way), workers=_WORKERS, advance=advance)
    return chain.from_iterable(done)


class _Batch(NamedTuple):
    """A unit of work."""

    copies: list[Copy]
    way: Way


def _batches(copies: Iterable[Copy], way: Way) -> Iterator[_Batch]:
    """Yield units of work: many small files, or few large ones."""
    batch: list[Copy] = []
    total = 0
    for copy in copies:
        batch.append(copy)
        total += copy.size
        if len(batch) == _BATCH_FILES or total >= _BATCH_BYTES:
            yield _Batch(batch, way)
            batch, total = [], 0
    if batch:
        yield _Batch(batch, way)


def _copy_batch(batch: _Batch, advance: Advance) -> list[Copied]:
    """Copy files with their modification times.

    The files are on disk before they get their names. They are synced together: most disks then write one journal entry
    for all of them.
    """
    buffer = new_buffer()
    with contextlib.ExitStack() as stack:
        written = []
        for copy in batch.copies:
            with disk_errors(copy.target):
                file, temporary = stack.enter_context(temporary_file(copy.target.parent))
                written.append((file, temporary, _write(copy, batch.way, file, temporary, buffer, advance)))
                start_writeback(file.fileno(), 0, 0)
        copied = []
        for copy, (file, temporary, sha256) in zip(batch.copies, written, strict=True):
            with disk_errors(copy.target):
                sync(file)
                stat = FileStat.of(temporary.lstat())
                temporary.replace(copy.target)
                copied.append(Copied(sha256, stat))
        return copied


def _write(copy: Copy, way: Way, file: BinaryIO, temporary: Path, buffer: memoryview, advance: Advance) -> str:
    """Fill a file from its source; return the sha256 of the bytes that the file has now."""
    with _open_source(copy.source) as opened:
        before = os.fstat(opened.fileno())
        linked = way is Way.LINK and _link_over(copy.source, temporary)
        if linked or (way is not Way.COPY and _clone(opened, file)):
            sha256, size = _read_back(temporary, buffer, advance)
        else:
            sha256, size = _copy_bytes(opened, file, buffer, advance)
        if FileStat.of(os.fstat(opened.fileno())) != FileStat.of(before) or size != before.st_size:
            raise FetchError("the file changed during the copy", where=copy.source, fix="run the same command again")
        if linked:
            os.fsync(opened.fileno())
        else:
            file.flush()
            os.utime(file.fileno(), ns=(before.st_mtime_ns, before.st_mtime_ns))
    return sha256


def _clone(opened: io.FileIO, file: BinaryIO) -> bool:
    try:
        share_blocks(opened.fileno(), file.fileno())
    except OSError:
        return False
    return True


def _copy_bytes(opened: io.FileIO, file: BinaryIO, buffer: memoryview, advance: Advance) -> tuple[str, int]:
    digest = hashlib.sha256()
    for block in read_blocks(opened.readinto, buffer):
        digest.update(block)
        file.write(block)
        advance(len(block))
    return digest.hexdigest(), file.tell()


def _read_back(path: Path, buffer: memoryview, advance: Advance) -> tuple[str, int]:
    """Read the payload's own file: what was not copied byte by byte is still read."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0, opener=regular_opener) as file:  # Path.open has no opener
        for block in read_blocks(file.readinto, buffer):
            digest.update(block)
            size += len(block)
            advance(len(block))
    return digest.hexdigest(), size


def _open_source(path: str) -> io.FileIO:
    try:
        return open(path, "rb", buffering=0, opener=regular_opener)  # Path.open has no opener
    except OSError as error:
        fix = "check its permissions, or leave it out with 'exclude:'"
        raise FetchError("can't read the file", where=path, found=error.strerror or error, fix=fix) from error
