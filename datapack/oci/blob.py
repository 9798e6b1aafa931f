"""Blobs on their way to a target: a layer or a config, whose size is known before a byte of it is read.

A blob is a value that can be pickled: what it contains is described, not held open, so another machine could write it.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datapack.errors import ImageError
from datapack.files import open_regular
from datapack.hashing import digest_of, new_buffer, read_blocks
from datapack.oci.spec import Descriptor

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.files import FileStat


class Writable(Protocol):
    """Where a blob can be written to."""

    def write(self, content: bytes | memoryview, /) -> object:
        """Write all of ``content``."""


class Observer(Protocol):
    """Observes one blob on its way to a target."""

    def start(self) -> int:
        """Note that the blob is read from its start; return how often that has happened, from 1."""

    def advance(self, amount: int) -> None:
        """Note the bytes read since the last call; raise an exception if nobody needs the blob any more."""

    def wait(self, seconds: float) -> None:
        """Sleep; raise an exception as soon as nobody needs the blob any more."""

    def found(self, path: str, stat: FileStat, sha256: str) -> None:
        """Note a file that was read and is intact: its path, its size and time when it was read, its sha256 in hex."""


class _Unobserved:
    """An observer that ignores everything, for small blobs."""

    def start(self) -> int:
        return 1

    def advance(self, amount: int) -> None:
        pass

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def found(self, path: str, stat: FileStat, sha256: str) -> None:
        pass


UNOBSERVED: Observer = _Unobserved()

#: The bytes of a blob, in order; the generator returns their digest. Use each block before requesting the next: they
#: share a buffer.
Blocks = Generator[bytes | memoryview, None, str]


class Content(Protocol):
    """What a blob contains."""

    def blocks(self, observer: Observer) -> Blocks:
        """Yield the bytes; each call starts again."""


@dataclass(frozen=True)
class Blob:
    """A layer or a config. ``digest`` is empty if it is not known yet."""

    media_type: str
    size: int  # bytes
    digest: str
    content: Content
    expected: str = ""  # the digest in the lock, if there is one

    @classmethod
    def of(cls, media_type: str, content: bytes) -> Blob:
        """Make a blob of a few bytes."""
        digest = digest_of(content)
        return cls(media_type, len(content), digest, _Bytes(content, digest))

    def write(self, out: Writable, observer: Observer = UNOBSERVED) -> str:
        """Write the bytes to ``out``; return their digest."""
        with contextlib.closing(self.content.blocks(observer)) as blocks:
            while True:
                try:
                    block = next(blocks)
                except StopIteration as end:
                    return str(end.value)
                out.write(block)

    def descriptor(self, digest: str) -> Descriptor:
        """Return the blob's descriptor, with the digest that `write` returned."""
        return Descriptor(self.media_type, digest, self.size)


@dataclass(frozen=True)
class _Bytes:
    content: bytes
    digest: str

    def blocks(self, observer: Observer) -> Blocks:
        observer.start()
        yield self.content
        observer.advance(len(self.content))
        return self.digest


@dataclass(frozen=True)
class FileContent:
    """A file that is already a blob, checked against its digest while it is read."""

    path: Path
    digest: str

    def blocks(self, observer: Observer) -> Blocks:
        """Yield the file's bytes; return the digest.

        Raises:
            ImageError: the file can't be read, or its bytes have another digest.
        """
        digest = hashlib.sha256()
        observer.start()
        try:
            with open_regular(self.path, ImageError) as file:
                for block in read_blocks(file.readinto, new_buffer()):  # type: ignore[attr-defined] # it has it
                    digest.update(block)
                    yield block
                    observer.advance(len(block))
        except OSError as error:
            raise ImageError("a layer of the base can't be read", where=self.path, found=error.strerror) from error
        found = f"sha256:{digest.hexdigest()}"
        if found != self.digest:
            raise ImageError(
                "a layer of the base is damaged",
                where=self.path,
                expected=self.digest,
                found=found,
                fix="remove it and run this again",
            )
        return found
