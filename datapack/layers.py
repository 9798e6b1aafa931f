"""Layers: the tar archives that an image is made of, the same bit for bit on every machine.

A layer is a value: its members and what each of them must contain. It knows its size before a byte is read, and it is
written in one pass that hashes every file against the manifest and the layer itself. The form is USTAR, uncompressed,
with PAX headers only for the names that need them; owner 0:0, modification time 0.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from datapack.errors import MismatchError
from datapack.manifest import FileStat, new_buffer, open_regular, read_blocks, sorted_by_bytes
from datapack.oci import LAYER, Descriptor, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from datapack.plan import PayloadFile

FILE_MODE = 0o444
FOLDER_MODE = 0o755
PROGRAM_MODE = 0o555

_BLOCK = tarfile.BLOCKSIZE
_END = b"\0" * (2 * _BLOCK)
_USTAR_MAX_SIZE = 8 << 30  # bytes: what eleven octal digits hold


class Member(NamedTuple):
    """One entry of a layer. Without ``source`` it is a folder."""

    name: str  # path from the image's root, without a leading slash
    mode: int
    size: int = 0  # bytes
    sha256: str = ""  # hex
    source: Path | bytes | None = None

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


class Writable(Protocol):
    """What a layer can be written to."""

    def write(self, content: bytes | memoryview, /) -> object:
        """Write all of ``content``."""


#: Told of each file that was read whole and found right: where it is, its stat as it was read, its sha256 in hex.
Found = Callable[[Path, FileStat, str], None]


@dataclass(frozen=True)
class Layer:
    """A layer by its content, before and after it is written. ``purpose`` is what the image's history says of it."""

    purpose: str
    members: Iterable[Member]  # sorted by the bytes of their names; they can be gone through again and again

    media_type = LAYER

    @cached_property
    def size(self) -> int:
        """The tar archive's size in bytes."""
        return len(_END) + sum(member.tar_size for member in self.members)

    @cached_property
    def key(self) -> str:
        """What the layer's digest depends on, as one hash that needs no byte of a file: names, modes, sizes, hashes."""
        content = [(member.name, member.mode, member.size, member.sha256) for member in self.members]
        return hashlib.sha256(canonical_json(content)).hexdigest()

    @property
    def sources(self) -> Iterator[Path]:
        """The files on disk that the layer is made of."""
        return (member.source for member in self.members if isinstance(member.source, Path))

    def write(
        self, out: Writable, *, advance: Callable[[int], None] = lambda _: None, found: Found = lambda *_: None
    ) -> str:
        """Write the archive; return its digest, ``sha256:`` and hex.

        Raises:
            MismatchError: a file is not what the manifest says, or is gone. What was written must be thrown away.
            OSError: ``out`` can't be written.
        """
        digest = hashlib.sha256()
        buffer = new_buffer()

        def put(block: bytes | memoryview) -> None:
            digest.update(block)
            out.write(block)

        for member in self.members:
            put(member.header())
            if isinstance(member.source, Path):
                found(member.source, _copy(member, member.source, buffer, put, advance), member.sha256)
            elif member.source is not None:
                put(member.source)
            put(bytes(member.padding))
        put(_END)
        return "sha256:" + digest.hexdigest()


def _copy(
    member: Member,
    source: Path,
    buffer: memoryview,
    put: Callable[[memoryview], None],
    advance: Callable[[int], None],
) -> FileStat:
    """Put a file's content, hashing it on the way; return its ``stat`` if it is what the manifest says."""
    digest = hashlib.sha256()
    try:
        file = open(source, "rb", buffering=0, opener=open_regular)  # noqa: SIM115 - Path.open has no opener; closed below
    except OSError as error:
        raise MismatchError("a file of the bag can't be read", where=source, found=error.strerror or error) from error
    with file:
        stat = FileStat.of(os.fstat(file.fileno()))
        if stat.size != member.size:
            raise _changed(source, f"{member.size} bytes", f"{stat.size} bytes")
        remaining = member.size
        for block in read_blocks(file.readinto, buffer):
            remaining -= len(block)
            if remaining < 0:
                break
            digest.update(block)
            put(block)
            advance(len(block))
    if remaining or digest.hexdigest() != member.sha256:
        raise _changed(source, f"sha256 {member.sha256}", f"sha256 {digest.hexdigest()}")
    return stat


def _changed(source: Path, expected: str, found: str) -> MismatchError:
    return MismatchError(
        "the file is not what the bag's manifest says",
        where=source,
        expected=expected,
        found=found,
        fix="remove it and run 'datapack fetch' to get it again",
    )


@dataclass(frozen=True)
class Part:
    """A layer or a config on its way to a target.

    ``digest`` is known beforehand or empty; ``size`` always is. ``write`` puts the bytes out and returns their digest.
    """

    media_type: str
    size: int
    digest: str
    write: Callable[[Writable], str]

    def descriptor(self, digest: str) -> Descriptor:
        return Descriptor(self.media_type, digest, self.size)


@dataclass(frozen=True)
class _DataMembers:
    """The members of a data layer, made whenever they are gone through: a version may have millions of files."""

    files: Sequence[PayloadFile]
    bag: Path
    folder: str

    def __iter__(self) -> Iterator[Member]:
        return iter(
            tree(
                Member(f"{self.folder}/{file.path}", FILE_MODE, file.size, file.sha256, self.bag / file.path)
                for file in self.files
            )
        )


def data_layers(groups: Sequence[Sequence[PayloadFile]], bag: Path, folder: str) -> list[Layer]:
    """Make the layers with a bag's files.

    Args:
        groups: the files of each layer, lowest first, as they were planned.
        bag: the folder on disk that their paths are below.
        folder: the folder in the image that their paths are below, without a leading slash.
    """
    return [
        Layer(f"data {number} of {len(groups)}", _DataMembers(group, bag, folder))
        for number, group in enumerate(groups, start=1)
    ]


def tree(files: Iterable[Member]) -> tuple[Member, ...]:
    """Put every parent folder, once, before the files, all sorted by the bytes of their names."""
    members = {member.name: member for member in files}
    for name in list(members):
        folder = name.rpartition("/")[0]
        while folder and f"{folder}/" not in members:
            members[f"{folder}/"] = Member(f"{folder}/", FOLDER_MODE)
            folder = folder.rpartition("/")[0]
    return tuple(members[name] for name in sorted_by_bytes(members))


def program_layer() -> Layer:
    """Make the layer with the import program and the places where the Safe Haven mounts its folders."""
    program = Path(__file__).with_name("import.sh").read_bytes()
    member = Member("usr/local/bin/import", PROGRAM_MODE, len(program), hashlib.sha256(program).hexdigest(), program)
    mounts = (Member(f"{name}/", FOLDER_MODE) for name in ("safe_data", "safe_outputs", "scratch"))
    return Layer(purpose="the import program", members=tree([member, *mounts]))


def tag_layer(tags: Mapping[str, bytes], folder: str) -> Layer:
    """Make the layer with the bag's tag files."""
    members = (
        Member(f"{folder}/{name}", FILE_MODE, len(content), hashlib.sha256(content).hexdigest(), content)
        for name, content in tags.items()
    )
    return Layer(purpose="the bag's tag files", members=tree(members))
