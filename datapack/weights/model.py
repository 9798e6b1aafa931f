"""What is in a weights file, as values. Data types have the names that safetensors gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Format = Literal[
    "safetensors", "PyTorch", "PyTorch before 1.6", "PyTorch before 0.2", "pickle", "ONNX", "Keras", "HDF5"
]

MOST_TENSORS = 250_000  # in a file: the largest models have a tenth of them in one
LONGEST_NAME = 1000  # characters of a tensor's name

_NAMES = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
    16: "U16 I16 F16 BF16",
    32: "U32 I32 F32",
    64: "U64 I64 F64 C64",
}
#: The bits of a number of each type that safetensors has.
BITS: Mapping[str, int] = MappingProxyType({name: bits for bits, names in _NAMES.items() for name in names.split()})


class TensorInfo(NamedTuple):
    """The type of a tensor's numbers, and its shape."""

    dtype: str  # such as F32
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


class Span(NamedTuple):
    """Where the numbers of a tensor are in its file."""

    start: int  # the first byte of the storage, which several tensors can share
    length: int  # bytes of the storage
    offset: int  # of the tensor's first number in the storage, in numbers
    strides: tuple[int, ...]  # of each dimension, in numbers
    crc: int | None = None  # CRC-32 of the storage; None if the file does not have it

    def is_contiguous(self, shape: tuple[int, ...]) -> bool:
        """Whether the numbers follow each other, in the order of the last dimension first."""
        return 0 in shape or all(
            size == 1 or stride == expected
            for size, stride, expected in zip(shape, self.strides, row_strides(shape), strict=True)
        )


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a contiguous tensor, in numbers."""
    return tuple(math.prod(shape[at + 1 :]) for at in range(len(shape)))


_NOTHING: Mapping[str, str] = MappingProxyType({})
_NOWHERE: Mapping[str, Span] = MappingProxyType({})


@dataclass(frozen=True)
class WeightsFile:
    """A weights file: its tensors, and what else is in it."""

    format: Format
    tensors: Mapping[str, TensorInfo]  # by name, in the order of the file; none of a format that is not opened
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    calls: tuple[str, ...] = ()  # what loading the pickle would call or import beyond plain tensors, in brief
    functions: tuple[str, ...] = ()  # those of `calls` that are more than making an object of a class
    classes: tuple[str, ...] = ()  # the classes of objects in the pickle, which are not made here
    left_out: tuple[str, ...] = ()  # places of values that are not tensors, such as epoch
    unusual: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  # tensors without plain numbers, and why
    complaint: str = ""  # what the checker of its format says; empty if it is sound
    spans: Mapping[str, Span] = field(default_factory=lambda: _NOWHERE)  # by name; empty for ONNX
