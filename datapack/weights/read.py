"""Read a weights file, whatever its format, without a framework and without running anything in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from datapack.errors import WeightsError
from datapack.files import disk_errors, open_regular
from datapack.weights.model import WeightsFile
from datapack.weights.storages import weights_of

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.weights.storages import Pickled

HEAD = 512  # bytes: enough to tell the format
_ZIP, _HDF5, _TAR = b"PK\3\4", b"\x89HDF\r\n\x1a\n", (b"sys_info", b"pickle\0", b"storages", b"tensors\0")
_LEGACY = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number with which files before PyTorch 1.6 begin
_LEAST_HEADER = 9  # bytes: the length of a safetensors header, and the first byte of it


def read_weights(path: Path) -> WeightsFile:
    """Read what is in a weights file: its names, shapes and types, and what its pickle would call.

    The numbers of the tensors are not read, so a file of any size takes milliseconds. Nothing in a file is imported,
    called or unpacked. The files of Keras, ``.keras`` and ``.h5``, are recognised and not opened.

    Raises:
        WeightsError: the file is broken, cut off, or no weights file.
    """
    with disk_errors(path, WeightsError), open_regular(path, WeightsError) as file:
        head = file.read(HEAD)
        return _read(file, head, file.seek(0, os.SEEK_END), path)


def read_pickles(file: BinaryIO, path: Path) -> WeightsFile:
    """Read an open PyTorch file; ``path`` is where it is, for errors.

    Raises:
        WeightsError: the file is broken, cut off, or none of PyTorch.
    """
    file.seek(0)
    head = file.read(HEAD)
    try:
        return weights_of(_pickled(file, head, file.seek(0, os.SEEK_END)))
    except (ValueError, RecursionError, MemoryError) as error:
        raise WeightsError(str(error), where=path) from error


def _read(file: BinaryIO, head: bytes, size: int, path: Path) -> WeightsFile:
    name = path.name.lower()
    if name.endswith(".keras"):
        return WeightsFile("Keras", {})
    if head.startswith(_HDF5):
        return WeightsFile("HDF5", {})
    if name.endswith(".onnx"):
        from datapack.weights.onnx_file import read_onnx

        return read_onnx(path)
    if name.endswith(".safetensors") or is_safetensors(head):
        from datapack.weights.safetensors_file import read_safetensors

        return read_safetensors(file, size, path)
    return read_pickles(file, path)


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors files do: with the length of a header in JSON."""
    return len(head) >= _LEAST_HEADER and head[8:9] == b"{" and head[4:8] == bytes(4)


def is_pytorch(head: bytes) -> bool:
    """Whether a file may be one of PyTorch: an archive of it, or a pickle."""
    return head.startswith((_ZIP, *_TAR)) or (head[:1] == b"\x80" and head[1:2] in {b"\1", b"\2", b"\3", b"\4", b"\5"})


def is_surely_pytorch(head: bytes) -> bool:
    """Whether only PyTorch files begin so; a lone pickle, or any ZIP archive, may be of something else."""
    return head.startswith((_LEGACY, *_TAR)) or (head.startswith(_ZIP) and b"data.pkl" in head)


def _pickled(file: BinaryIO, head: bytes, size: int) -> Pickled:
    if head.startswith(_ZIP):
        from datapack.weights.torch_zip import read_zip

        return read_zip(file, size)
    from datapack.weights.torch_tar import is_tar, read_tar

    if is_tar(head):  # one that begins as a pickle does, too
        return read_tar(file, size)
    from datapack.weights.torch_legacy import read_legacy, runs_code

    if is_pytorch(head) or runs_code(file, size):
        return read_legacy(file, size)
    raise ValueError("no weights file that datapack knows: expected safetensors, PyTorch or ONNX")
