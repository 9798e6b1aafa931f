"""The safetensors format: the length of a header, the header in JSON, then the numbers of each tensor."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

from datapack.errors import WeightsError
from datapack.jsonfile import parse_json
from datapack.text import size as readable_size
from datapack.weights.model import BITS, LONGEST_NAME, MOST_TENSORS, Span, TensorInfo, WeightsFile, row_strides

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LENGTH = struct.Struct("<Q")
_LARGEST_HEADER = 100_000_000  # bytes: what the safetensors library reads
METADATA = "__metadata__"
_KEYS = {"dtype", "shape", "data_offsets"}
_MOST_DIMENSIONS = 64


def read_safetensors(file: BinaryIO, size: int, path: Path) -> WeightsFile:
    """Read the header of a safetensors file, and check it against the file's size.

    Args:
        file: open for reading.
        size: its bytes.
        path: where it is, for errors and for the safetensors library.

    Raises:
        WeightsError: the file is broken.
    """
    content = _header(file, size, path)
    try:
        header = _mapping(parse_json(content, path, WeightsError, limit=None), "a header that is not a JSON object")
        metadata = _metadata(header.pop(METADATA, {}))
        start = _LENGTH.size + len(content)
        tensors = {name: _tensor(name, value) for name, value in header.items()}
        _check_offsets({name: (begin, end) for name, (_, begin, end) in tensors.items()}, size - start)
    except ValueError as error:
        raise WeightsError(str(error), where=path) from error
    _check_by_library(path)
    infos = {name: info for name, (info, _, _) in tensors.items()}
    spans = {
        name: Span(start + begin, end - begin, 0, row_strides(info.shape))
        for name, (info, begin, end) in tensors.items()
    }
    return WeightsFile("safetensors", infos, metadata, spans=spans)


def _header(file: BinaryIO, size: int, path: Path) -> bytes:
    file.seek(0)
    if size < _LENGTH.size:
        raise WeightsError("not a safetensors file", where=path, expected="at least 8 bytes", found=size)
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > size - _LENGTH.size:
        raise WeightsError(
            "its header is longer than the file, which is cut off or not a safetensors file",
            where=path,
            expected=readable_size(length),
            found=f"{readable_size(size)} in all",
        )
    if length > _LARGEST_HEADER:
        most = readable_size(_LARGEST_HEADER)
        raise WeightsError(
            "its header is too long", where=path, expected=f"at most {most}", found=readable_size(length)
        )
    content = file.read(length)
    if not content.startswith(b"{"):
        raise WeightsError("not a safetensors file", where=path, expected="a header that begins with {")
    if content.count(b"{") > MOST_TENSORS:
        raise WeightsError("its header names too many tensors", where=path, expected=f"at most {MOST_TENSORS:,}")
    return content


def _mapping(value: Any, problem: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(problem)
    return value


def _metadata(value: Any) -> dict[str, str]:
    metadata = _mapping(value, "metadata that is not a JSON object")
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("metadata with a value that is not text")
    return metadata


def _tensor(name: str, value: Any) -> tuple[TensorInfo, int, int]:
    """Return a tensor of the header: what it is, and the first and the last place of its bytes."""
    name = name if len(name) <= LONGEST_NAME else f"{name[:40]}..."
    if not isinstance(value, dict) or not value.keys() >= _KEYS:
        raise ValueError(f"tensor {name} lacks its dtype, shape or data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"tensor {name} has an unknown type: {str(dtype)[:40]!r}")
    if not _are_counts(shape) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"tensor {name} has no shape")
    if not _are_counts(offsets) or len(offsets) != 2:  # noqa: PLR2004 - where it begins and ends
        raise ValueError(f"tensor {name} has no place: its data_offsets must be two whole numbers")
    info = TensorInfo(dtype, tuple(shape))
    bits = info.numbers * BITS[dtype]
    begin, end = offsets
    if bits != 8 * (end - begin):
        needed = f"{' x '.join(map(str, shape)) or 'one'} of {dtype} need {bits / 8:,.10g} bytes"
        raise ValueError(f"tensor {name} has {end - begin:,} bytes, and {needed}")
    return info, begin, end


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 1 << 63 for one in value)


def _check_offsets(places: Mapping[str, tuple[int, int]], size: int) -> None:
    """Check that the tensors fill the rest of the file, and that no two have the same bytes."""
    at, before = 0, ""
    for name, (begin, end) in sorted(places.items(), key=lambda item: item[1]):
        if begin < at:
            raise ValueError(f"tensors {before} and {name} overlap")
        if begin > at:
            raise ValueError(f"{begin - at:,} bytes before tensor {name} belong to no tensor")
        at, before = end, name
    if at > size:
        raise ValueError(f"the file is cut off: its tensors need {at - size:,} bytes more")
    if at < size:
        raise ValueError(f"{size - at:,} bytes at its end belong to no tensor")


def _check_by_library(path: Path) -> None:
    """Let the safetensors library open the file too: what it refuses, no program can load."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError("the safetensors library refuses it", where=path, found=str(error)) from error
