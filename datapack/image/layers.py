"""Layers: the tar archives that an image is made of, bit for bit the same on every machine.

A layer is a value: its members and what each of them must contain. Its size is known before any byte is read. It is
written in one pass that checks every file against the manifest and hashes the layer itself. The format is USTAR,
uncompressed, with PAX headers only for the names that need them; owner 0:0, modification time 0.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.manifest import sorted_by_bytes
from datapack.errors import MismatchError
from datapack.files import FileStat
from datapack.hashing import new_buffer, read_blocks, regular_opener
from datapack.oci.blob import UNOBSERVED
from datapack.oci.spec import LAYER, canonical_json

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from datapack.bag.bagit import PayloadFile
    from datapack.oci.blob import Blocks, Observer


PROGRAMS = {  # where each file of the import program goes
    "usr/local/bin/import": "import.sh",
    "usr/local/bin/import-batch": "import-batch.sh",
    "usr/local/bin/import-json": "import-json.sh",
}
MOUNTS = ("safe_data", "safe_outputs", "scratch")  # where the Safe Haven mounts its folders
FILE_MODE = 0o444
FOLDER_MODE = 0o755
PROGRAM_MODE = 0o555
_BLOCK = tarfile.BLOCKSIZE
END = b"\0" * (2 * _BLOCK)  # of an archive
_USTAR_MAX_SIZE = 8 << 30  # bytes: the first size that eleven octal digits can't hold
_CHUNK = 4096  # members
_SMALL = 64 << 10  # bytes: smaller pieces are joined with the next one


class Member(NamedTuple):
    """One entry of a layer. Without ``source`` it is a folder."""

    name: str  # path from the image's root, without a leading slash
    mode: int
    size: int = 0  # bytes
    sha256: str = ""  # hex
    source: str | bytes | None = None  # the path of a file on disk, or the content

    def header(self) -> bytes:
        """Return the tar header, with its PAX records where the name or the size needs them."""
        info = tarfile.TarInfo(self.name)
        info.mode, info.size = self.mode, self.size
        info.type = tarfile.DIRTYPE if self.source is None else tarfile.REGTYPE
        if self.name.isascii() and self.size < _USTAR_MAX_SIZE:
            with contextlib.suppress(ValueError):  # a name that is too long for USTAR
                return info.tobuf(tarfile.USTAR_FORMAT)
        return info.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="strict")

    @property
    def padding(self) -> int:
        """Bytes from the end of the content to the next header."""
        return -self.size % _BLOCK

    @property
    def tar_size(self) -> int:
        """Bytes that the entry takes in the archive, with its header and padding."""
        plain = self.name.isascii() and len(self.name) <= tarfile.LENGTH_NAME and self.size < _USTAR_MAX_SIZE
        return (_BLOCK if plain else len(self.header())) + self.size + self.padding


@dataclass(frozen=True)
class Layer:
    """A layer, described by its content. ``purpose`` is its entry in the image's history."""

    purpose: str
    members: Iterable[Member]  # sorted by the bytes of their names; can be iterated more than once

    media_type = LAYER

    @cached_property
    def size(self) -> int:
        """The tar archive's size in bytes."""
        return len(END) + sum(member.tar_size for member in self.members)

    @cached_property
    def key(self) -> str:
        """A hash of what the digest depends on (names, modes, sizes, hashes), computed without reading any file."""
        content = ((member.name, member.mode, member.size, member.sha256) for member in self.members)
        digest, separator = hashlib.sha256(b"["), b""
        while chunk := list(islice(content, _CHUNK)):  # the text of them all would be long
            digest.update(separator + canonical_json(chunk)[1:-1])
            separator = b","
        digest.update(b"]")
        return digest.hexdigest()

    @property
    def sources(self) -> Iterator[str]:
        """The paths of the files on disk that the layer is made of."""
        return (member.source for member in self.members if isinstance(member.source, str))

    def blocks(self, observer: Observer = UNOBSERVED) -> Blocks:
        """Yield the archive's bytes, checking each file against its sha256; return the archive's digest.

        Raises:
            MismatchError: a file differs from the manifest, or is gone. Discard all bytes yielded until then.
        """
        digest = hashlib.sha256()
        for block in _joined(self._pieces(observer, check=True)):
            digest.update(block)
            yield block
        return f"sha256:{digest.hexdigest()}"

    def unchecked_blocks(self, digest: str, observer: Observer) -> Blocks:
        """Yield the archive's bytes with the files as they are now; return the digest that they should have.

        This is for a receiver that checks the digest itself: nothing is hashed here.
        """
        yield from _joined(self._pieces(observer, check=False))
        return digest

    def _pieces(self, observer: Observer, *, check: bool) -> Iterator[bytes | memoryview]:
        """Yield every entry's header, content and padding."""
        buffer = new_buffer()
        for member in self.members:
            yield member.header()
            if isinstance(member.source, str):
                stat = yield from _read(member, member.source, buffer, observer, check=check)
                if check:
                    observer.found(member.source, stat, member.sha256)
            elif member.source is not None:
                yield member.source
            yield bytes(member.padding)
        yield END


@dataclass(frozen=True)
class LayerContent:
    """A layer as the content of a blob.

    ``trusted`` is its digest if that is known and the receiver checks it: then the files are not hashed here. If the
    receiver requests the bytes again, they were wrong, and the files are checked to find out why.
    """

    layer: Layer
    trusted: str = ""

    def blocks(self, observer: Observer) -> Blocks:
        if observer.start() == 1 and self.trusted:
            return (yield from self.layer.unchecked_blocks(self.trusted, observer))
        return (yield from self.layer.blocks(observer))


def _joined(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Join small pieces (headers, small files) into blocks that are worth a call; pass large ones through."""
    small = bytearray()
    for piece in pieces:
        if len(piece) < _SMALL:
            small += piece
        if small and (len(small) >= _SMALL or len(piece) >= _SMALL):
            yield bytes(small)
            small.clear()
        if len(piece) >= _SMALL:
            yield piece
    if small:
        yield bytes(small)


def _read(
    member: Member, source: str, buffer: memoryview, observer: Observer, *, check: bool
) -> Generator[memoryview, None, FileStat]:
    """Yield a file's content; return its size and time. With ``check``, hash it; otherwise check only its size."""
    digest, remaining = hashlib.sha256(), member.size
    try:
        with open(source, "rb", buffering=0, opener=regular_opener) as file:  # Path.open has no opener
            stat = FileStat.of(os.fstat(file.fileno()))
            if stat.size != member.size:
                raise _changed(source, f"{member.size} bytes", f"{stat.size} bytes")
            for block in read_blocks(file.readinto, buffer):
                remaining -= len(block)
                if remaining < 0:
                    break
                if check:
                    digest.update(block)
                yield block
                observer.advance(len(block))
    except OSError as error:
        raise MismatchError("a file of the bag can't be read", where=source, found=error.strerror or error) from error
    if remaining or (check and digest.hexdigest() != member.sha256):
        raise _changed(source, f"sha256 {member.sha256}", f"sha256 {digest.hexdigest()}")
    return stat


def _changed(source: str, expected: str, found: str) -> MismatchError:
    return MismatchError(
        "the file differs from the bag's manifest",
        where=source,
        expected=expected,
        found=found,
        fix="remove it and run 'datapack fetch' to get it again",
    )


@dataclass(frozen=True)
class _DataMembers:
    """The members of a data layer, created while iterating: a version may have millions of files."""

    files: Sequence[PayloadFile]
    bag: Path
    folder: str

    def __iter__(self) -> Iterator[Member]:
        return _with_folders(
            Member(f"{self.folder}/{file.path}", FILE_MODE, file.size, file.sha256, f"{self.bag}/{file.path}")
            for file in self.files
        )


def data_layers(groups: Sequence[Sequence[PayloadFile]], bag: Path, folder: str) -> list[Layer]:
    """Make the layers with a bag's files.

    Args:
        groups: the planned files of each layer, lowest first.
        bag: the folder on disk that contains their paths.
        folder: the folder in the image that contains their paths, without a leading slash.
    """
    return [
        Layer(f"data {number} of {len(groups)}", _DataMembers(sorted(group, key=itemgetter(0)), bag, folder))
        for number, group in enumerate(groups, start=1)
    ]


def tree(files: Iterable[Member]) -> tuple[Member, ...]:
    """Add every parent folder once; sort everything by the bytes of the names, so that folders precede their files."""
    members = {member.name: member for member in files}
    return tuple(_with_folders(members[name] for name in sorted_by_bytes(members)))


def _with_folders(files: Iterable[Member]) -> Iterator[Member]:
    """Add every parent folder to sorted files, each before its first file: there it is where sorting would put it."""
    done = {""}
    for member in files:
        itself = member.name.rstrip("/")
        folder = itself.rpartition("/")[0]
        if folder not in done:
            parts = folder.split("/")
            for count in range(1, len(parts) + 1):
                name = "/".join(parts[:count])
                if name not in done:
                    done.add(name)
                    yield Member(f"{name}/", FOLDER_MODE)
        if member.source is None:
            done.add(itself)
        yield member


def program_layer() -> Layer:
    """Make the layer with the import program, in three files, and the mount points of the Safe Haven's folders."""
    contents = {path: Path(__file__).with_name(name).read_bytes() for path, name in PROGRAMS.items()}
    programs = [
        Member(path, PROGRAM_MODE, len(content), hashlib.sha256(content).hexdigest(), content)
        for path, content in contents.items()
    ]
    mounts = (Member(f"{name}/", FOLDER_MODE) for name in MOUNTS)
    return Layer(purpose="the import program", members=tree([*programs, *mounts]))


def tag_layer(tags: Mapping[str, bytes], folder: str) -> Layer:
    """Make the layer with the bag's tag files."""
    members = (
        Member(f"{folder}/{name}", FILE_MODE, len(content), hashlib.sha256(content).hexdigest(), content)
        for name, content in tags.items()
    )
    return Layer(purpose="the bag's tag files", members=tree(members))
