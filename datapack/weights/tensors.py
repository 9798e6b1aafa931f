"""Tensors in PyTorch's pickles: what its functions would rebuild from their storages, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.weights.inert import Entries, Made, Name
from datapack.weights.model import BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_DIMENSIONS = 64
_MOST = 1 << 62  # numbers of a tensor, or of a storage

#: The data type of each kind of storage, and of each dtype of PyTorch.
STORAGES: Mapping[str, str] = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.ComplexFloatStorage": "C64",
    "torch.ComplexDoubleStorage": "C128",
    "torch.QInt8Storage": "quantised",
    "torch.QUInt8Storage": "quantised",
    "torch.QInt32Storage": "quantised",
    "torch.QUInt4x2Storage": "quantised",
    "torch.QUInt2x4Storage": "quantised",
}
_DTYPES: Mapping[str, str] = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.uint16": "U16",
    "torch.uint32": "U32",
    "torch.uint64": "U64",
    "torch.bool": "BOOL",
    "torch.complex64": "C64",
    "torch.complex128": "C128",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.float8_e4m3fnuz": "F8_E4M3FNUZ",
    "torch.float8_e5m2fnuz": "F8_E5M2FNUZ",
    "torch.float8_e8m0fnu": "F8_E8M0",
}
_UNTYPED = {f"torch.storage.{start}UntypedStorage" for start in ("", "_")}
#: Bytes of a number of the types that PyTorch's storages have.
WIDTHS: Mapping[str, int] = {
    **{dtype: bits // 8 for dtype, bits in BITS.items() if bits >= 8},  # noqa: PLR2004 - whole bytes
    "C128": 16,
}


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Numbers in a file, which tensors share."""

    key: str
    dtype: str  # empty if it is just bytes
    length: int  # bytes
    start: int = 0  # the first byte of a view into the storage with this key


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor: a view of a storage. One without plain numbers has only a problem."""

    storage: Storage | None
    dtype: str = ""
    offset: int = 0  # in numbers
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    problem: str = ""  # such as "sparse"


def dtype_of(storage: object) -> str:
    """Return the data type that the class of a storage has; empty if it has bytes.

    Raises:
        ValueError: it is no class of PyTorch's storages.
    """
    full = storage.full if isinstance(storage, Name) else ""
    if full in _UNTYPED:
        return ""
    if full not in STORAGES:
        raise ValueError("a broken pickle: a storage of an unknown type")
    return STORAGES[full]


def width_of(dtype: str) -> int:
    """Return the bytes of a number; those of a quantised one do not matter."""
    return WIDTHS.get(dtype, 1)


def is_count(value: object, most: int = _MOST) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most


def _shape(value: object) -> tuple[int, ...]:
    if isinstance(value, tuple | list) and len(value) <= _MOST_DIMENSIONS and all(map(is_count, value)):
        return tuple(value)
    raise ValueError("a broken pickle: a tensor whose shape or strides are not whole numbers")


def _rebuild(args: tuple[object, ...], dtype: str = "") -> object:
    """Return the tensor of ``_rebuild_tensor``: a storage, an offset, a shape and strides."""
    if len(args) < 4:  # noqa: PLR2004 - see above
        raise ValueError("a broken pickle: a tensor without a storage, an offset, a shape and strides")
    storage, offset, shape, strides = args[0], args[1], _shape(args[2]), _shape(args[3])
    if not isinstance(storage, Storage):
        return Made(Name("torch._utils", "_rebuild_tensor"), args)  # what made the storage is recorded
    if not is_count(offset) or len(shape) != len(strides):
        raise ValueError("a broken pickle: a tensor whose shape and strides do not fit")
    dtype = dtype or storage.dtype
    reach = 0 if 0 in shape else 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    place: int = offset  # type: ignore[assignment] # is_count has seen it
    if reach and (place + reach) * width_of(dtype) > storage.length:
        raise ValueError("a broken pickle: a tensor that reaches beyond the end of its storage")
    if dtype not in WIDTHS:
        return Tensor(None, problem="quantised" if dtype else "of an unknown type")
    return Tensor(storage, dtype, place, shape, strides)


def _rebuild_v2(args: tuple[object, ...], dtype: str = "", metadata: int = 6) -> object:
    """Return the tensor of ``_rebuild_tensor_v2``; marks of PyTorch such as 'conjugated' change its numbers."""
    marks = args[metadata] if len(args) > metadata else None
    if isinstance(marks, Entries) and any(marks.named.values()):
        return Tensor(None, problem=f"with a mark of PyTorch: {' and '.join(sorted(marks.named))[:100]}")
    return _rebuild(args, dtype)


def _rebuild_v3(args: tuple[object, ...]) -> object:
    dtype = args[6] if len(args) > 6 else None  # noqa: PLR2004 - the place of the type
    full = dtype.full if isinstance(dtype, Name) else ""
    if full not in _DTYPES:
        return Tensor(None, problem=f"of the type {full[:100]}")
    return _rebuild_v2(args, _DTYPES[full], 7)


def _first(args: tuple[object, ...]) -> object:
    """Return the tensor that a parameter wraps."""
    return args[0] if args else None


def _rebuild_subclass(args: tuple[object, ...]) -> object:
    """Return the tensor of ``_rebuild_from_type_v2``: a function, a type, the function's arguments and a state."""
    if len(args) > 2 and isinstance(args[0], Name) and isinstance(args[2], tuple):  # noqa: PLR2004 - see above
        rebuild = REBUILD.get(args[0].full)
        kind = args[1].full if isinstance(args[1], Name) else ""
        if rebuild and kind in _TENSOR_TYPES:
            return rebuild(args[2])
        return Tensor(None, problem=f"of the class {kind[:100]}")
    raise ValueError("a broken pickle: a tensor of a class without its arguments")


def _unusual(problem: str) -> Callable[[tuple[object, ...]], object]:
    return lambda _: Tensor(None, problem=problem)


_TENSOR_TYPES = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}
#: PyTorch's functions that rebuild tensors, by their full names.
REBUILD: Mapping[str, Callable[[tuple[object, ...]], object]] = {
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _rebuild_subclass,
    "torch._utils._rebuild_sparse_tensor": _unusual("sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _unusual("sparse"),
    "torch._utils._rebuild_qtensor": _unusual("quantised"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unusual("without numbers (of the device 'meta')"),
    "torch._utils._rebuild_nested_tensor": _unusual("nested"),
}
