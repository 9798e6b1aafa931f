"""Numbers that are not finite: read in blocks, so that a file of any size takes little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from datapack.errors import WeightsError
from datapack.files import open_regular
from datapack.weights.model import BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from datapack.weights.model import WeightsFile

_BLOCK = 4 << 20  # bytes


class _Bits(NamedTuple):
    """Which bits of a number are all set if it is infinite or not a number."""

    type: str  # NumPy's unsigned integer of the same size
    mask: int


_NOT_FINITE: Mapping[str, _Bits] = {
    "F64": _Bits("<u8", 0x7FF0_0000_0000_0000),
    "F32": _Bits("<u4", 0x7F80_0000),
    "C64": _Bits("<u4", 0x7F80_0000),  # two of them
    "F16": _Bits("<u2", 0x7C00),
    "BF16": _Bits("<u2", 0x7F80),
    "F8_E5M2": _Bits("u1", 0x7C),
    "F8_E4M3": _Bits("u1", 0x7F),
}


class _Part(NamedTuple):
    """A part of a file with numbers of one type."""

    start: int
    length: int  # bytes
    dtype: str


def not_finite(path: Path, weights: WeightsFile, advance: Callable[[int], None]) -> dict[str, int]:
    """Count the numbers that are infinite or not a number, by the name of the tensor that has them.

    Of tensors that share a storage, the first one stands for all.

    Args:
        path: the file.
        weights: what is in it.
        advance: gets the bytes of each block.
    """
    found: dict[str, int] = {}
    with open_regular(path, WeightsError) as file:
        for part, name in _parts(weights).items():
            if count := _count(file, part, advance):
                found[name] = count
    return found


def _parts(weights: WeightsFile) -> dict[_Part, str]:
    """Return the parts of a file that have fractions, and the first tensor in each: a part is read once."""
    parts = _collect(weights, whole=False)
    storages = _collect(weights, whole=True)  # which do not overlap, whatever the tensors do
    return min(parts, storages, key=lambda some: sum(part.length for part in some))


def _collect(weights: WeightsFile, *, whole: bool) -> dict[_Part, str]:
    parts: dict[_Part, str] = {}
    for name, span in weights.spans.items():
        info = weights.tensors[name]
        if info.dtype not in _NOT_FINITE:
            continue
        width = BITS[info.dtype] // 8
        if whole or not span.is_contiguous(info.shape):
            part = _Part(span.start, span.length, info.dtype)
        else:
            part = _Part(span.start + span.offset * width, info.numbers * width, info.dtype)
        parts.setdefault(part, name)
    return parts


def _count(file: BinaryIO, part: _Part, advance: Callable[[int], None]) -> int:
    bits, count = _NOT_FINITE[part.dtype], 0
    file.seek(part.start)
    for at in range(0, part.length, _BLOCK):
        block = file.read(min(_BLOCK, part.length - at))
        size = BITS[part.dtype] // 8
        numbers: NDArray[np.uint64] = np.frombuffer(block[: len(block) // size * size], bits.type)
        count += int(np.count_nonzero((numbers & bits.mask) == bits.mask))
        advance(len(block))
    return count
