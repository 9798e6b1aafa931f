"""ONNX models. The optional package ``onnx`` reads and checks them, in a process of its own."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from datapack.errors import WeightsError
from datapack.text import size as readable_size
from datapack.weights.isolation import Limits, run_isolated
from datapack.weights.model import TensorInfo, WeightsFile

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_LARGEST = 2 << 30  # bytes: of a model without the files beside it; protobuf allows no more
_MEMORY, _SECONDS = 10 << 30, 600  # the package needs four times the file's size


def read_onnx(path: Path) -> WeightsFile:
    """Read an ONNX model, and let the checker of ``onnx`` check it.

    Numbers may be in other files in the same folder or below, which are not read.

    Raises:
        WeightsError: ``onnx`` is not installed, the file is no ONNX model, or its numbers are in a file elsewhere.
    """
    if importlib.util.find_spec("onnx") is None:
        fix = "install it with: pip install 'datapack[onnx]'"
        raise WeightsError("reading ONNX models needs the package onnx", where=path, fix=fix)
    size = path.stat().st_size
    if size > _LARGEST:
        most = readable_size(_LARGEST)
        raise WeightsError("too large for an ONNX model", where=path, expected=f"at most {most}", found=size)
    found: dict[str, Any] = run_isolated(
        "datapack.weights.onnx_worker:reader", {"path": str(path)}, path, Limits(_MEMORY, _SECONDS, opens_files=True)
    )
    tensors = {name: TensorInfo(dtype, tuple(shape)) for name, dtype, shape in found["tensors"]}
    return WeightsFile("ONNX", tensors, found["metadata"], complaint=found["complaint"])
