"""What reads an ONNX model, in the process that `isolation` starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from datapack.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DTYPES = {  # the types of ONNX that safetensors has too
    "BFLOAT16": "BF16",
    "BOOL": "BOOL",
    "COMPLEX64": "C64",
    "DOUBLE": "F64",
    "FLOAT": "F32",
    "FLOAT16": "F16",
    "FLOAT8E4M3FN": "F8_E4M3",
    "FLOAT8E4M3FNUZ": "F8_E4M3FNUZ",
    "FLOAT8E5M2": "F8_E5M2",
    "FLOAT8E5M2FNUZ": "F8_E5M2FNUZ",
    "FLOAT8E8M0": "F8_E8M0",
    "INT16": "I16",
    "INT32": "I32",
    "INT64": "I64",
    "INT8": "I8",
    "UINT16": "U16",
    "UINT32": "U32",
    "UINT64": "U64",
    "UINT8": "U8",
}
_LONGEST = 1000  # characters of a complaint, which can have a whole model in it


def reader(value: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Return the function that reads the model at a path: its tensors, its metadata, and what the checker says."""
    return partial(_read, Path(value["path"]))


def _read(path: Path) -> dict[str, Any]:
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise WeightsError("not an ONNX model, or cut off", where=path, found=str(error)[:_LONGEST]) from error
    if not model.HasField("graph"):
        raise WeightsError("not an ONNX model", where=path, expected="a model with a graph")
    tensors = list(_tensors(model.graph))
    for tensor in tensors:
        _check_place(tensor, path)
    return {
        "tensors": [(tensor.name, _dtype(tensor), list(tensor.dims)) for tensor in tensors if tensor.name],
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "complaint": _complaint(path),
    }


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the weights of a graph, and of the graphs in its nodes."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield from current.initializer
        yield from (sparse.values for sparse in current.sparse_initializer)
        for node in current.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs
                yield from [attribute.t] if attribute.HasField("t") else []
                yield from attribute.tensors


def _dtype(tensor: onnx.TensorProto) -> str:
    name = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in _KNOWN else str(tensor.data_type)
    return _DTYPES.get(name, name)


_KNOWN = set(onnx.TensorProto.DataType.values())


def _check_place(tensor: onnx.TensorProto, path: Path) -> None:
    """Refuse numbers that are in a file outside the model's folder."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    place = PurePosixPath(location)
    outside = not location or place.is_absolute() or ".." in place.parts or "\\" in location
    if outside or not (path.parent / place).resolve().is_relative_to(path.parent.resolve()):
        raise WeightsError(
            f"the numbers of {tensor.name} are in a file outside the model's folder",
            where=path,
            expected="a file beside the model",
            found=location[:_LONGEST] or "no name",
        )


def _complaint(path: Path) -> str:
    """Return what the checker of ``onnx`` says about a model; nothing if it is sound."""
    try:
        onnx.checker.check_model(path)
    except (onnx.checker.ValidationError, EncodeError, ValueError, RuntimeError) as error:
        return " ".join(str(error).split())[:_LONGEST] or "not valid"
    return ""
