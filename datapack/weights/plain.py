"""What a pickle may name without needing code of its own: containers and values of Python, NumPy and PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.weights.inert import Entries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _entries(args: tuple[object, ...]) -> Entries:
    """Make a dictionary, from nothing or from a list of pairs or another dictionary."""
    made = Entries()
    source = args[-1] if args else None
    if isinstance(source, Entries):
        return source
    for pair in source if isinstance(source, list) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2:  # noqa: PLR2004 - a key and a value
            made.put(*pair)
    return made


def _list(args: tuple[object, ...]) -> list[object]:
    return list(args[0]) if args and isinstance(args[0], list | tuple) else []


def _tuple(args: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(_list(args))


#: Containers by their full names, and how each is made from its arguments.
CONTAINERS: Mapping[str, Callable[[tuple[object, ...]], object]] = {
    "builtins.dict": _entries,
    "builtins.list": _list,
    "builtins.set": _list,
    "builtins.frozenset": _list,
    "builtins.tuple": _tuple,
    "collections.OrderedDict": _entries,
    "collections.Counter": _entries,
    "collections.defaultdict": lambda args: _entries(args[1:]),
    "collections.deque": _list,
    "torch.Size": _tuple,
}
#: What makes an object of the class that is its first argument.
RECONSTRUCTORS = {"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"}

_STORAGES = (
    "DoubleStorage FloatStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage CharStorage "
    "ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage QInt8Storage QUInt8Storage QInt32Storage "
    "QUInt4x2Storage QUInt2x4Storage"
)
_TORCH = (
    "float16 float32 float64 bfloat16 half float double int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool "
    "complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2 "
    "qint8 quint8 qint32 quint4x2 quint2x4 bits8 bits16 "
    "Tensor Size device strided contiguous_format channels_last preserve_format per_tensor_affine"
)
_BY_MODULE = {
    "builtins": "bool bytearray bytes complex float int object range slice str",
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "_codecs": "encode",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "numpy": "dtype ndarray bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 str_",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "torch": f"{_TORCH} {_STORAGES}",
    "torch.storage": "TypedStorage UntypedStorage _TypedStorage _UntypedStorage",
    "torch.nn.parameter": "Parameter Buffer UninitializedParameter UninitializedBuffer",
    "torch.serialization": "_get_layout",
}
#: Full names of everything else that needs no code: values that are not tensors, and their parts.
PLAIN = frozenset(
    {f"{module}.{name}" for module, names in _BY_MODULE.items() for name in names.split()}
    | CONTAINERS.keys()
    | RECONSTRUCTORS
)


def is_plain(full: str) -> bool:
    """Whether a name is known to be harmless: what it stands for only holds values."""
    return full in PLAIN or full.startswith("numpy.dtypes.")
