"""The storages of PyTorch's files: where each is, and which tensors are in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from datapack.weights.inert import brief
from datapack.weights.model import Format, Span, TensorInfo, WeightsFile
from datapack.weights.state import find_tensors
from datapack.weights.tensors import Storage, dtype_of, is_count, width_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datapack.weights.inert import Record

_LEAST = 5  # parts of a persistent id


class Place(NamedTuple):
    """Where a storage is in the file."""

    start: int  # its first byte
    length: int  # bytes
    crc: int | None = None  # its CRC-32, if the file has it


class Pickled(NamedTuple):
    """What a file of pickles holds."""

    format: Format
    value: object
    record: Record
    places: Mapping[str, Place]  # of the storages, by their keys


def storage_of(identity: object) -> Storage:
    """Return the storage that a persistent id of PyTorch names.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(identity, tuple) or len(identity) < _LEAST or identity[0] != "storage":
        raise ValueError(f"a broken pickle: {brief(identity)} in place of a storage")
    kind, key, count = identity[1], identity[2], identity[4]
    if not isinstance(key, str) or not is_count(count):
        raise ValueError(f"a broken pickle: {brief(identity)} in place of a storage")
    dtype = dtype_of(kind)
    return Storage(key, dtype, count * width_of(dtype))


def weights_of(pickled: Pickled) -> WeightsFile:
    """Return the weights of a file.

    Raises:
        ValueError: a storage is too short, or the storages overlap.
    """
    _check_places(pickled.places)
    state = find_tensors(pickled.value)
    plain = {name: tensor for name, tensor in state.tensors.items() if not tensor.problem}
    spans = {}
    for name, tensor in plain.items():
        storage: Storage = tensor.storage  # type: ignore[assignment] # every tensor without a problem has one
        place = pickled.places[storage.key]
        if storage.start + storage.length > place.length:
            raise ValueError(f"the storage of {name} is too short: it has {place.length:,} bytes")
        offset = tensor.offset + storage.start // width_of(tensor.dtype)
        spans[name] = Span(place.start, place.length, offset, tensor.strides, place.crc)
    return WeightsFile(
        pickled.format,
        {name: TensorInfo(tensor.dtype, tensor.shape) for name, tensor in plain.items()},
        calls=pickled.record.calls,
        functions=pickled.record.functions,
        classes=pickled.record.classes,
        left_out=state.left_out,
        unusual={name: tensor.problem for name, tensor in state.tensors.items() if tensor.problem},
        spans=spans,
    )


def _check_places(places: Mapping[str, Place]) -> None:
    """Refuse storages that overlap: many of them could make a small file count as a huge one."""
    at = 0
    for place in sorted(places.values(), key=lambda place: (place.start, place.length)):
        if place.start < at:
            raise ValueError("its storages overlap")
        at = place.start + place.length
