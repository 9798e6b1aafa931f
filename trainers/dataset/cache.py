"""Decoded images in one file in ``/scratch``. What is read from it is what was written, or is decoded again.

The file holds the pixels of all images, where their `Layout` says, then the BLAKE3 hash of each image's pixels, then
that of the layout's key and all these hashes. Every image is compared with its hash when it is read. One that fails,
because the disk or another process changed the file, is decoded from the dataset, so a cache can cost time but never
changes what is trained on. BLAKE3 takes a third of the time of sha256, or a tenth if the CPU has no instructions for
it. The file is read, not mapped: a process that reads a map of a file that another one cuts off is killed.

Jobs may share ``/scratch``. Each writes to a file with a name of its own, and holds a lock on it as long as it lives: a
file without a lock is of a job that was killed, and the next job removes it. Only a complete file gets its final name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from datapack.hashing import regular_opener
from datapack.progress import size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.dataset.pixels import Array, Decoded, Layout

_HASH = 32  # bytes
_PARTIAL = ".tmp"
_TRIES = 100


@dataclass(frozen=True)
class Cached:
    """Images in a file. `source` decodes those that are damaged there, and `note` tells about the first one."""

    path: Path
    descriptor: int
    hashes: bytes
    source: Decoded
    note: Callable[[str], None]
    _noted: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(cls, scratch: Path, source: Decoded, note: Callable[[str], None]) -> Cached | None:
        """Open the file for the images of ``source``; return None if there is none, or not a complete one of ours."""
        path = cache_path(scratch, source.layout)
        try:
            descriptor = regular_opener(str(path), os.O_RDONLY)
        except OSError:
            return None
        hashes = _read_hashes(descriptor, source.layout)
        if hashes is None:
            os.close(descriptor)
            return None
        cached = cls(path, descriptor, hashes, source, note)
        weakref.finalize(cached, os.close, descriptor)
        return cached

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.source.layout.sizes

    def read(self, index: int) -> Array:
        width, height = self.sizes[index]
        pixels = np.empty((height, width, 3), np.uint8)
        _read(self.descriptor, pixels.data.cast("B"), int(self.source.layout.offsets[index]))
        if blake3(pixels.data).digest() == self.hashes[index * _HASH : (index + 1) * _HASH]:
            return pixels
        if not self._noted.is_set():
            self._noted.set()
            self.note(f"{self.path} has changed since it was written: what is damaged in it is decoded again")
        return self.source.read(index)


def cache_path(scratch: Path, layout: Layout) -> Path:
    """Return the path of the file for this layout, which may not exist yet."""
    return scratch / f"pixels-{layout.key}.u8"


@dataclass
class CacheWriter:
    """Writes the file under a temporary name. Several threads may write at the same time."""

    path: Path
    layout: Layout
    descriptor: int
    problem: str = ""  # why the file can't be written
    _hashes: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def create(cls, scratch: Path, layout: Layout) -> CacheWriter | str:
        """Create the file in its full size, or return the reason why it can't be created."""
        needed = layout.bytes + (len(layout.sizes) + 1) * _HASH
        try:
            remove_partials(scratch)
            free = shutil.disk_usage(scratch).free
            if free < needed:
                return f"{scratch} has {size(free)} free, the decoded images need {size(needed)}"
            path, descriptor = _create_locked(scratch, layout)
        except OSError as error:
            return f"{scratch} can't be written to: {error.strerror}"
        writer = cls(path, layout, descriptor)
        try:
            os.posix_fallocate(descriptor, 0, needed)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                writer.discard()
                return f"{scratch} has no room for {size(needed)} of decoded images: {error.strerror}"
        return writer

    def write(self, index: int, pixels: Array) -> None:
        """Write one image at its place; after the first problem, write nothing more."""
        if self.problem:
            return
        content = np.ascontiguousarray(pixels)
        try:
            _write(self.descriptor, content.data.cast("B"), int(self.layout.offsets[index]))
        except OSError as error:
            self.problem = self._describe(error)
        self._hashes[index] = blake3(content.data).digest()

    def finish(self) -> bool:
        """Give the complete file its name; return whether it is complete. What is read is checked: it needs no sync."""
        hashes = b"".join(hashed for _, hashed in sorted(self._hashes.items()))
        if len(self._hashes) < len(self.layout.sizes):
            self.problem = self.problem or "images are missing in the decoded images"
        try:
            if not self.problem:
                _write(self.descriptor, memoryview(hashes + _seal(self.layout, hashes)), self.layout.bytes)
                self.path.replace(cache_path(self.path.parent, self.layout))
        except OSError as error:
            self.problem = self._describe(error)
        self.discard()
        return not self.problem

    def discard(self) -> None:
        """Close the file; remove it unless it has its final name."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def _describe(self, error: OSError) -> str:
        scratch = self.path.parent
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return f"{scratch} is full"
        return f"the decoded images can't be written to {scratch}: {error.strerror}"


def remove_partials(scratch: Path) -> None:
    """Remove the files of jobs that were killed: those that no process has locked."""
    for path in scratch.glob(f"pixels-*{_PARTIAL}"):
        with contextlib.suppress(OSError):
            descriptor = regular_opener(str(path), os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def _create_locked(scratch: Path, layout: Layout) -> tuple[Path, int]:
    """Create a file with a new name and lock it, before another job can take it for one of a killed job."""
    for _ in range(_TRIES):
        path = scratch / f"pixels-{layout.key}-{secrets.token_hex(8)}{_PARTIAL}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _lock(descriptor) and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)
        path.unlink(missing_ok=True)
    raise OSError(errno.EBUSY, "other processes remove what is written there")


def _lock(descriptor: int) -> bool:
    """Lock a file; return whether no other process has. Where there are no locks, no job removes another's file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True


def _read_hashes(descriptor: int, layout: Layout) -> bytes | None:
    """Return the hashes of the images, or None if the file is not complete, is of another user, or is not ours."""
    state = os.fstat(descriptor)
    end = memoryview(bytearray((len(layout.sizes) + 1) * _HASH))
    if state.st_uid != os.geteuid() or state.st_size != layout.bytes + len(end):
        return None
    _read(descriptor, end, layout.bytes)
    hashes, seal = bytes(end[:-_HASH]), bytes(end[-_HASH:])
    return hashes if seal == _seal(layout, hashes) else None


def _seal(layout: Layout, hashes: bytes) -> bytes:
    return blake3(layout.key.encode() + hashes).digest()


def _read(descriptor: int, content: memoryview, at: int) -> None:
    """Fill ``content`` from a place in a file; where the file ends early or can't be read, the rest stays as it is."""
    with contextlib.suppress(OSError):
        while content and (count := os.preadv(descriptor, [content], at)):
            content, at = content[count:], at + count


def _write(descriptor: int, content: memoryview, at: int) -> None:
    while content:  # not through a memory map: a full disk would kill the process
        count = os.pwrite(descriptor, content, at)
        content, at = content[count:], at + count
