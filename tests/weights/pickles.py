"""Weights files, sound and hostile, made without PyTorch: pickles are written opcode by opcode."""

import io
import json
import pickle
import struct
import tarfile
import zipfile
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Name:
    """What a pickle imports."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """What a pickle calls; with ``new`` it makes an object, which gets a state."""

    what: object
    args: tuple[object, ...]
    new: bool = False
    state: object = None


@dataclass(frozen=True)
class Stored:
    """A persistent id."""

    identity: tuple[object, ...]


def dump(value: object) -> bytes:
    """Write a pickle of protocol 2."""
    return b"\x80\x02" + _write(value) + b"."


def _write(value: object) -> bytes:
    match value:
        case Name():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            made = _write(value.what) + _write(value.args) + (b"\x81" if value.new else b"R")
            return made if value.state is None else made + _write(value.state) + b"b"
        case Stored():
            return _write(value.identity) + b"Q"
        case tuple() | list():
            inside = b"".join(map(_write, value))
            return b"(" + inside + b"t" if isinstance(value, tuple) else b"](" + inside + b"e"
        case dict():
            return b"}(" + b"".join(_write(key) + _write(one) for key, one in value.items()) + b"u"
    return pickle.dumps(value, 2).removeprefix(b"\x80\2").removesuffix(b".")


KINDS = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def tensor(key: str, array: np.ndarray, **changes: object) -> Call:
    """Return the call that rebuilds a tensor whose storage holds an array."""
    strides = tuple(stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides)
    parts = {
        "kind": KINDS[str(array.dtype)],
        "count": array.size,
        "offset": 0,
        "shape": array.shape,
        "strides": strides,
    }
    parts |= changes
    stored = Stored(("storage", Name("torch", parts["kind"]), key, "cpu", parts["count"]))
    args = (stored, parts["offset"], parts["shape"], parts["strides"], False, ordered({}))
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), args)


def ordered(entries: dict[str, object]) -> Call:
    """Return the call that makes an OrderedDict."""
    return Call(Name("collections", "OrderedDict"), ([[key, value] for key, value in entries.items()],))


def module(kind: str, parameters: dict[str, object], modules: dict[str, object] | None = None) -> Call:
    """Return the object of a module of PyTorch."""
    state = {"training": False, "_parameters": parameters, "_buffers": {}, "_modules": modules or {}}
    return Call(Name(*kind.rsplit(".", 1)), (), new=True, state=state)


def torch_zip(value: object, arrays: dict[str, np.ndarray], **more: bytes) -> bytes:
    """Return what ``torch.save`` would write."""
    return zip_file(
        {
            "archive/data.pkl": value if isinstance(value, bytes) else dump(value),
            "archive/byteorder": b"little",
            **{f"archive/data/{key}": array.tobytes() for key, array in arrays.items()},
            "archive/version": b"3\n",
            **more,
        }
    )


def zip_file(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


def state_dict() -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Return a state dictionary of two tensors, and their arrays."""
    arrays = {"0": np.arange(12, dtype=np.float32).reshape(3, 4), "1": np.arange(3, dtype=np.float64)}
    return {"layer.weight": tensor("0", arrays["0"]), "layer.bias": tensor("1", arrays["1"])}, arrays


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with a header of JSON, or of bytes."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def torch_tar(
    value: object, storages: list[np.ndarray], tensors: list[tuple], views: list[tuple] | None = None
) -> bytes:
    """Return what PyTorch 0.1 would have written.

    Args:
        value: what was saved; its tensors are persistent ids, texts from "100" on.
        storages: their keys are 0, 1, 2, ...
        tensors: the key of its storage, the shape, the strides and the offset of each.
        views: storages that are parts of others: key, key of the whole, offset and count.
    """
    kept = dump(len(storages))
    for key, array in enumerate(storages):
        kept += (
            dump((key, "cpu", Name("torch", KINDS[str(array.dtype)]))) + struct.pack("<q", array.size) + array.tobytes()
        )
    rows = dump(len(tensors))
    for key, (storage, shape, strides, offset) in enumerate(tensors, start=100):
        rows += dump((key, storage, Name("torch", "FloatTensor"))) + struct.pack("<i4x", len(shape))
        rows += struct.pack(f"<{2 * len(shape) + 1}q", *shape, *strides, offset)
    members = {"sys_info": dump({}), "pickle": dump(value), "storages": kept + dump(views or []), "tensors": rows}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def two_faces(evil: object) -> dict[str, bytes]:
    """Return files that PyTorch reads otherwise than Python's own readers do, each with the error that we give.

    Args:
        evil: what only PyTorch finds in them.
    """
    seen, hidden = torch_zip(1, {}), torch_zip(evil, {})
    directory = hidden.index(b"PK\1\2")
    archive = bytearray(hidden[: hidden.index(b"PK\5\6")] + seen)
    end = archive.rindex(b"PK\5\6")  # its place of the list of files is that of the other archive
    archive[end + 16 : end + 20] = struct.pack("<I", directory)
    disguised = bytearray(torch_tar({"w": evil}, [np.zeros(1, np.float32)], []))
    disguised[:9] = b"\x80\2N.\0\0\0\0\0"  # a pickle of None in the place of the first file's name
    disguised[148:156] = b"%06o\0 " % (sum(disguised[:148]) + sum(disguised[156:512]) + 8 * 32)
    return {
        "its list of files is not where it says": bytes(archive),
        "two files 'a/data.pkl'": zip_file({"a/DATA.pkl": dump(evil), "a/data.pkl": dump(1), "a/version": b"3\n"}),
        "a TAR archive of PyTorch without sys_info": bytes(disguised),
    }
