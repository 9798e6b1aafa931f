"""PyTorch's files since 1.6: a ZIP archive with a pickle, and a file for each storage. Nothing is unpacked."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from typing import TYPE_CHECKING, BinaryIO

from datapack.weights.inert import brief
from datapack.weights.machine import Machine
from datapack.weights.storages import Pickled, Place, storage_of
from datapack.weights.tensors import REBUILD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datapack.weights.tensors import Storage

LARGEST_PICKLE = 64 << 20  # bytes: that of a model of 10,000 tensors has 2 MB
_LARGEST_DIRECTORY = 16 << 20  # bytes of the list of the archive's files: 200,000 of them
_HEADER = struct.Struct("<4s22xHH")  # of a file in an archive: a signature, and the lengths of its name and of more
# What is at the end of an archive: a signature, and where the list of its files is; the second is where the third is.
_END, _LOCATOR, _LARGE_END = struct.Struct("<4s12xI2x"), struct.Struct("<4s4xQ4x"), struct.Struct("<4s44xQ")
_PICKLE = "data.pkl"


def read_zip(file: BinaryIO, size: int) -> Pickled:
    """Read an archive of PyTorch.

    Args:
        file: open for reading.
        size: its bytes.

    Raises:
        ValueError: the archive, or the pickle in it, is broken or of another kind.
    """
    try:
        with zipfile.ZipFile(_Bounded(file)) as archive:
            return _read(file, size, archive)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, OverflowError, RuntimeError) as error:
        raise ValueError(f"a broken ZIP archive, perhaps cut off: {error}") from error


def _read(file: BinaryIO, size: int, archive: zipfile.ZipFile) -> Pickled:
    _check_directory(file, size, archive)
    members: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for member in archive.infolist():
        if member.filename.lower() in folded:  # PyTorch takes names that differ only in case for the same
            raise ValueError(f"a ZIP archive with two files {brief(member.filename)}")
        folded.add(member.filename.lower())
        members[member.filename] = member
    start = _start(members)
    if _is_big_endian(file, size, members.get(f"{start}byteorder")):
        raise ValueError("its numbers are big-endian: save it again on a little-endian machine")
    places: dict[str, Place] = {}

    def persistent(identity: object) -> Storage:
        storage = storage_of(identity)
        if storage.key not in places:
            member = members.get(f"{start}data/{storage.key}")
            if member is None:
                raise ValueError(f"a ZIP archive without the storage {brief(storage.key)}")
            places[storage.key] = _place(file, size, member)
        return storage

    machine = Machine(REBUILD, persistent)
    value = machine.load(io.BytesIO(_content(file, size, members[f"{start}{_PICKLE}"])))
    return Pickled("PyTorch", value, machine.record, places)


def _check_directory(file: BinaryIO, size: int, archive: zipfile.ZipFile) -> None:
    """Refuse an archive whose list of files is not where it says: `zipfile` and PyTorch could read different lists."""
    at = size - _END.size - len(archive.comment)
    file.seek(at)
    signature, place = _END.unpack(file.read(_END.size))
    is_sound = signature == b"PK\5\6"
    file.seek(max(0, at - _LOCATOR.size))
    signature, large = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if signature == b"PK\6\7":  # in the 64-bit form, which PyTorch writes
        is_sound &= large == at - _LOCATOR.size - _LARGE_END.size
        file.seek(at - _LOCATOR.size - _LARGE_END.size)
        signature, place = _LARGE_END.unpack(file.read(_LARGE_END.size))
        is_sound &= signature == b"PK\6\6"
    if not is_sound or place != archive.start_dir:
        raise ValueError("a broken ZIP archive: its list of files is not where it says")


def _start(members: Mapping[str, zipfile.ZipInfo]) -> str:
    """Return how the names of the archive's files begin."""
    starts = [name.removesuffix(_PICKLE) for name in members if name == _PICKLE or name.endswith(f"/{_PICKLE}")]
    starts = [start for start in starts if start.count("/") <= 1]
    if len(starts) != 1:
        raise ValueError(f"not a PyTorch file: a ZIP archive with {len(starts)} files data.pkl")
    if f"{starts[0]}constants.pkl" in members:
        raise ValueError("a TorchScript program, not weights: save the state_dict() of its module")
    return starts[0]


def _content(file: BinaryIO, size: int, member: zipfile.ZipInfo) -> bytes:
    place = _place(file, size, member)
    if place.length > LARGEST_PICKLE:
        raise ValueError(f"a pickle of {place.length:,} bytes: datapack reads at most {LARGEST_PICKLE:,}")
    file.seek(place.start)
    return file.read(place.length)


def _place(file: BinaryIO, size: int, member: zipfile.ZipInfo) -> Place:
    """Return where a member's bytes are, as they are in the archive."""
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
        raise ValueError(f"a ZIP archive in which {brief(member.filename)} is compressed: PyTorch never does that")
    file.seek(member.header_offset)
    signature, name, more = _HEADER.unpack(file.read(_HEADER.size))
    start = member.header_offset + _HEADER.size + name + more
    if signature != b"PK\3\4" or start + member.file_size > size:
        raise ValueError(f"a broken ZIP archive: {brief(member.filename)} is not where its list says")
    return Place(start, member.file_size, member.CRC)


def _is_big_endian(file: BinaryIO, size: int, member: zipfile.ZipInfo | None) -> bool:
    return member is not None and _content(file, size, member) == b"big"


class _Bounded:
    """A file of which `zipfile` reads no more at once than a list of files can have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seekable = file.tell, file.seekable

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and place < 0:
            raise zipfile.BadZipFile("a place before its start")
        return self._file.seek(place, whence)

    def read(self, size: int = -1) -> bytes:
        if size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(f"a list of its files of {size:,} bytes")
        return self._file.read(size)
