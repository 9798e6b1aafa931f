"""PyTorch's files before 0.2: a TAR archive with a pickle, and a file of storages and one of tensors.

Today's PyTorch reads them too, but only with ``weights_only=False``.
"""

from __future__ import annotations

import io
import struct
import tarfile
from itertools import islice
from typing import BinaryIO

from datapack.weights.inert import brief
from datapack.weights.machine import Machine
from datapack.weights.storages import Pickled, Place
from datapack.weights.tensors import REBUILD, Storage, Tensor, dtype_of, is_count, width_of
from datapack.weights.torch_zip import LARGEST_PICKLE

_MOST = 250_000  # storages, or tensors
_MOST_DIMENSIONS = 64
_MOST_MEMBERS = 100
_MEMBERS = {"sys_info", "pickle", "storages", "tensors"}
_COUNT, _DIMENSIONS = struct.Struct("<q"), struct.Struct("<i4x")


def is_tar(head: bytes) -> bool:
    """Whether PyTorch would take a file for a TAR archive: whatever its first bytes are as text, these are a name."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def read_tar(file: BinaryIO, size: int) -> Pickled:
    """Read a TAR archive of PyTorch.

    Args:
        file: open for reading.
        size: its bytes.

    Raises:
        ValueError: the archive, or a pickle in it, is broken.
    """
    file.seek(0)
    members: dict[str, tarfile.TarInfo] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in islice(archive, _MOST_MEMBERS):
                if member.name in members:
                    raise ValueError(f"a TAR archive with two files {brief(member.name)}")
                members[member.name] = member
            if archive.next():
                raise ValueError("a TAR archive with too many files")
    except (tarfile.TarError, OSError, OverflowError) as error:
        raise ValueError(f"a broken TAR archive: {error}") from error
    if not members.keys() >= _MEMBERS or any(one.offset_data + one.size > size for one in members.values()):
        raise ValueError(
            f"a TAR archive of PyTorch without {' or '.join(sorted(_MEMBERS - members.keys())) or 'an end'}"
        )
    reader = _Reader(file, members)
    reader.read_storages()
    reader.read_tensors()
    value = reader.load("pickle")
    return Pickled("PyTorch before 0.2", value, reader.machine.record, reader.places)


class _Reader:
    """Reads the members of an archive, in their order."""

    def __init__(self, file: BinaryIO, members: dict[str, tarfile.TarInfo]) -> None:
        self._file, self._members = file, members
        self.machine = Machine(REBUILD, self._persistent)
        self.places: dict[str, Place] = {}
        self._storages: dict[int, Storage] = {}
        self._tensors: dict[int, Tensor] = {}

    def _persistent(self, identity: object) -> object:
        if isinstance(identity, tuple) and identity:
            return identity[0]  # a class, with the source code that it had
        try:
            key = int(identity)  # type: ignore[call-overload] # whatever it is
            return self._tensors[key] if key in self._tensors else self._storages[key]
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"a broken pickle: no tensor {brief(identity)}") from error

    def load(self, name: str) -> object:
        return self.machine.load(io.BytesIO(self._bytes(name, 0, LARGEST_PICKLE)))

    def _bytes(self, name: str, at: int, count: int) -> bytes:
        member = self._members[name]
        self._file.seek(member.offset_data + at)
        return self._file.read(max(0, min(count, member.size - at)))

    def _pickle_at(self, name: str, at: int) -> tuple[object, int]:
        """Return the value of the pickle at a place of a member, and the place behind it."""
        stream = io.BytesIO(self._bytes(name, at, _LARGEST_ENTRY))
        value = self.machine.load(stream)
        return value, at + stream.tell()

    def _numbers(self, name: str, at: int, count: int) -> tuple[int, ...]:
        content = self._bytes(name, at, count * _COUNT.size)
        if len(content) < count * _COUNT.size:
            raise ValueError("the file is cut off")
        return struct.unpack(f"<{count}q", content)

    def read_storages(self) -> None:
        """Find the storages: each has a pickle of its key, its device and its type, a count, and its numbers."""
        member = self._members["storages"]
        count, at = self._pickle_at("storages", 0)
        for _ in range(_checked_count(count)):
            about, at = self._pickle_at("storages", at)
            if not isinstance(about, tuple) or len(about) != 3 or not is_count(about[0]):  # noqa: PLR2004 - see above
                raise ValueError("a broken pickle: a storage without its key, device and type")
            dtype = dtype_of(about[2])
            length = self._numbers("storages", at, 1)[0] * width_of(dtype)
            at += _COUNT.size
            if not 0 <= length <= member.size - at:
                raise ValueError("the file is cut off, or the length of a storage is wrong")
            self.places[str(about[0])] = Place(member.offset_data + at, length)
            self._storages[about[0]] = Storage(str(about[0]), dtype, length)
            at += length
        self._read_views(at)

    def _read_views(self, at: int) -> None:
        """Read which storages are parts of others: a list of keys, keys of the whole, offsets and counts of numbers."""
        views, _ = self._pickle_at("storages", at)
        for view in views if isinstance(views, list) else ():
            if not isinstance(view, tuple) or len(view) != 4 or not all(map(is_count, view)):  # noqa: PLR2004 - see above
                raise ValueError("a broken pickle: a view of a storage that is none")
            key, root, offset, count = view
            if root not in self._storages:
                raise ValueError("a broken pickle: a view of a storage that is not there")
            whole = self._storages[root]
            width = width_of(whole.dtype)
            if (offset + count) * width > whole.length:
                raise ValueError("a broken pickle: a view that reaches beyond the end of its storage")
            self._storages[key] = Storage(whole.key, whole.dtype, count * width, whole.start + offset * width)

    def read_tensors(self) -> None:
        """Find the tensors: each has a pickle of its key, its storage and its type, a shape, strides and an offset."""
        count, at = self._pickle_at("tensors", 0)
        for _ in range(_checked_count(count)):
            about, at = self._pickle_at("tensors", at)
            if not isinstance(about, tuple) or len(about) != 3 or not all(map(is_count, about[:2])):  # noqa: PLR2004
                raise ValueError("a broken pickle: a tensor without its key, storage and type")
            if about[1] not in self._storages:
                raise ValueError("a broken pickle: a tensor without its storage")
            content = self._bytes("tensors", at, _DIMENSIONS.size)
            dimensions = _DIMENSIONS.unpack(content)[0] if len(content) == _DIMENSIONS.size else -1
            if not 0 <= dimensions <= _MOST_DIMENSIONS:
                raise ValueError("a broken TAR archive: a tensor without its dimensions")
            numbers = self._numbers("tensors", at + _DIMENSIONS.size, 2 * dimensions + 1)
            at += _DIMENSIONS.size + len(numbers) * _COUNT.size
            parts = (numbers[-1], numbers[:dimensions], numbers[dimensions:-1])
            rebuilt = REBUILD["torch._utils._rebuild_tensor"]((self._storages[about[1]], *parts))
            self._tensors[about[0]] = rebuilt  # type: ignore[assignment] # of a storage, it is a tensor


_LARGEST_ENTRY = 1 << 16  # bytes of the pickle of one storage or tensor


def _checked_count(count: object) -> int:
    if not is_count(count, _MOST):
        raise ValueError("a broken pickle: no number of storages or tensors")
    return int(count)  # type: ignore[call-overload, no-any-return] # is_count has seen it
