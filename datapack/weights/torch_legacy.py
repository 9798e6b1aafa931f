"""PyTorch's files before 1.6: pickles that follow each other, then the storages. A lone pickle is one of them."""

from __future__ import annotations

import contextlib
import io
import mmap
from typing import BinaryIO, cast

from datapack.weights.inert import Entries, brief
from datapack.weights.machine import Machine
from datapack.weights.storages import Pickled, Place, storage_of
from datapack.weights.tensors import REBUILD, Storage, is_count, width_of
from datapack.weights.torch_zip import LARGEST_PICKLE

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = 8  # bytes of the number in front of a storage
_VIEW = 5  # the place of what part of a storage a view is, in a persistent id
_MOST_KEYS = 250_000


def read_legacy(file: BinaryIO, size: int) -> Pickled:
    """Read a file that begins with a pickle.

    Args:
        file: open for reading.
        size: its bytes.

    Raises:
        ValueError: a pickle is broken, or the file is cut off.
    """
    file.seek(0)
    stream = io.BytesIO(file.read(LARGEST_PICKLE))
    storages: dict[str, Storage] = {}

    def persistent(identity: object) -> object:
        if isinstance(identity, tuple) and identity[:1] == ("module",) and len(identity) > 1:
            return identity[1]  # a class, with the source code that it had
        storage = storage_of(identity)
        first = storages.setdefault(storage.key, storage)
        if first.length < storage.length or width_of(first.dtype) != width_of(storage.dtype):
            raise ValueError(f"a broken pickle: the storage {brief(storage.key)} in two sizes")
        return _view(storage, identity[_VIEW] if isinstance(identity, tuple) and len(identity) > _VIEW else None)

    machine = Machine(REBUILD, persistent)
    first = machine.load(stream)
    if first != MAGIC:
        return Pickled("pickle", first, machine.record, {})
    if machine.load(stream) != _PROTOCOL:
        raise ValueError("a format of PyTorch's that datapack does not know")
    if _is_big_endian(machine.load(stream)):
        raise ValueError("its numbers are big-endian: save it again on a little-endian machine")
    value = machine.load(stream)
    keys = machine.load(stream)
    return Pickled("PyTorch before 1.6", value, machine.record, _places(file, size, stream.tell(), keys, storages))


def runs_code(file: BinaryIO, size: int) -> bool:
    """Whether Python would call or make something as it reads a file as a pickle, of any protocol.

    The first two protocols have no mark at their beginning, and any bytes may look like them for a while. What comes
    after the first wrong byte does not count: Python has run what is in front of it.
    """
    if not size:
        return False
    machine = Machine(REBUILD, lambda _: None)
    with (
        mmap.mmap(file.fileno(), min(size, LARGEST_PICKLE), access=mmap.ACCESS_READ) as content,
        contextlib.suppress(ValueError, RecursionError),
    ):
        machine.load(cast("io.BytesIO", content))  # it reads, and asks where it is
    called = (*machine.record.functions, *machine.record.classes)
    return any(all(map(str.isidentifier, text.partition("(")[0].split("."))) for text in called)


def _is_big_endian(about: object) -> bool:
    return isinstance(about, Entries) and about.named.get("little_endian") is False


def _view(storage: Storage, view: object) -> Storage:
    """Return the part of a storage that a view is: a key, an offset and a length, in numbers; all of it without."""
    if view is None:
        return storage
    if not isinstance(view, tuple) or len(view) != 3 or not all(map(is_count, view[1:])):  # noqa: PLR2004 - see above
        raise ValueError("a broken pickle: a view of a storage that is none")
    width = width_of(storage.dtype)
    start, length = view[1] * width, view[2] * width
    if start + length > storage.length:
        raise ValueError("a broken pickle: a view that reaches beyond the end of its storage")
    return Storage(storage.key, storage.dtype, length, start)


def _places(file: BinaryIO, size: int, start: int, keys: object, storages: dict[str, Storage]) -> dict[str, Place]:
    """Return where the storages are, which follow the last pickle in the order of their keys."""
    if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
        raise ValueError("a broken pickle: no list of storages")
    places: dict[str, Place] = {}
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or key in places:
            raise ValueError(f"a broken pickle: a storage {brief(key)} that no tensor has")
        file.seek(start)
        count = int.from_bytes(file.read(_COUNT), "little")
        length = count * width_of(storage.dtype)
        if start + _COUNT + length > size:
            raise ValueError(f"the file is cut off: the storage {brief(key)} has {length:,} bytes")
        places[key] = Place(start + _COUNT, length)
        start += _COUNT + length
    if missing := storages.keys() - places.keys():
        raise ValueError(f"the storage {brief(min(missing))} is missing")
    return places
