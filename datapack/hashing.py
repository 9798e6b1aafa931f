"""sha256 of files and bytes, on several cores; other hashes only where others chose them: in bags and in lists."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from datapack.executor import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Protocol

    from datapack.executor import Advance

    class Hash(Protocol):
        """A hash that is being computed."""

        def update(self, block: bytes | memoryview, /) -> None: ...
        def hexdigest(self) -> str: ...


GIT_BLOB = "git blob sha1"  # git's name of a file's content: the sha1 of "blob", the size and the content
#: The digits of a whole hash of each algorithm that a file from the web can be checked with.
DIGITS = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32, GIT_BLOB: 40}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BATCH = 16  # files per unit of work: handing a unit to a worker takes longer than hashing a small file
_BUFFER = 1 << 20  # bytes per read: large enough that Python's overhead is negligible


class Checksum(NamedTuple):
    """What a file's hash must begin with; without digits nothing is known."""

    algorithm: str = "sha256"
    digits: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether all digits are known."""
        return len(self.digits) == DIGITS[self.algorithm]

    def fits(self, digest: str) -> bool:
        """Whether a file with this hash, in hex and of the same algorithm, is the one that is meant."""
        return digest.startswith(self.digits)


def new_hash(algorithm: str, size: int) -> Hash:
    """Begin to hash a file of this size."""
    if algorithm == GIT_BLOB:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=False)  # md5 and sha1 are only what others published


def hash_files(
    root: Path,
    paths: Iterable[str],
    *,
    algorithm: str = "sha256",
    workers: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[str, str]]:
    """Hash files below ``root`` in parallel; yield each path with its hash in hex, in the order of ``paths``."""
    remaining = iter(paths)
    batches = (_Batch(root, batch, algorithm) for batch in iter(lambda: list(islice(remaining, _BATCH)), []))
    for hashed in run_all(_hash_batch, batches, workers=workers, advance=advance):
        yield from hashed


class _Batch(NamedTuple):
    """Files to hash, by their paths below ``root``."""

    root: Path
    paths: list[str]
    algorithm: str


def _hash_batch(batch: _Batch, advance: Advance) -> list[tuple[str, str]]:
    buffer = new_buffer()
    return [
        (path, hash_file(batch.root / path, algorithm=batch.algorithm, buffer=buffer, advance=advance))
        for path in batch.paths
    ]


def hash_file(
    path: Path,
    *,
    algorithm: str = "sha256",
    buffer: memoryview | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> str:
    """Return the hash of a regular file in hex; raise `OSError` for a link, which is not followed."""
    with open(path, "rb", buffering=0, opener=regular_opener) as file:
        digest = new_hash(algorithm, os.fstat(file.fileno()).st_size)
        for block in read_blocks(file.readinto, buffer or new_buffer()):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def new_buffer() -> memoryview:
    """Make a 1 MiB buffer for `read_blocks`; a thread reuses its own for all files."""
    return memoryview(bytearray(_BUFFER))


def read_blocks(readinto: Callable[[memoryview], int | None], buffer: memoryview) -> Iterator[memoryview]:
    """Read to the end in blocks. Each block is a view of ``buffer``, valid until the next one is read."""
    while count := readinto(buffer):
        yield buffer[:count]


def regular_opener(path: str, flags: int) -> int:
    """Open a regular file, as ``open(opener=...)`` wants it; raise `OSError` for a link or a device, without reading.

    `datapack.files.open_regular` opens a file that is read on its own, and says in one line what is wrong with it.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def hash_bytes(content: bytes) -> str:
    """Return the sha256 of some bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of(content: bytes) -> str:
    """Return the digest, ``sha256:`` and 64 hex digits, of some bytes."""
    return f"sha256:{hash_bytes(content)}"


def is_digest(text: object) -> bool:
    """Whether ``text`` is a sha256 digest, the only algorithm that datapack uses."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None
