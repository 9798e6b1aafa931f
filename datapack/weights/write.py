"""Write a safetensors file: the same tensors and metadata give the same bytes on any machine."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

from datapack.weights.model import BITS
from datapack.weights.safetensors_file import METADATA

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator, Mapping

    from datapack.weights.model import Span, TensorInfo

_ALIGNED = 8  # bytes: of the first number, for programs that map the file
_CHUNK = 16 << 20  # bytes that are written at once


def write_safetensors(
    out: BinaryIO,
    content: mmap.mmap | memoryview,
    tensors: Mapping[str, tuple[TensorInfo, Span]],
    metadata: Mapping[str, str],
) -> None:
    """Write tensors that are in another file.

    Args:
        out: open for writing.
        content: the other file.
        tensors: by name, what each is and where it is in the other file.
        metadata: texts for the header.
    """
    names = sorted(tensors, key=lambda name: (-BITS[tensors[name][0].dtype], name))  # the order of the library
    header: dict[str, object] = {METADATA: dict(sorted(metadata.items()))}
    at = 0
    for name in names:
        info, _ = tensors[name]
        end = at + info.numbers * BITS[info.dtype] // 8
        header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    out.write(struct.pack("<Q", len(text)) + text)
    for name in names:
        out.writelines(_blocks(memoryview(content), *tensors[name]))


def _blocks(content: memoryview, info: TensorInfo, span: Span) -> Iterator[memoryview]:
    """Yield the numbers of a tensor in the order of its dimensions, the last one fastest."""
    width = BITS[info.dtype] // 8
    size = info.numbers * width
    start = span.start + span.offset * width
    if span.is_contiguous(info.shape):
        yield from (content[at : min(at + _CHUNK, start + size)] for at in range(start, start + size, _CHUNK))
        return
    sides = [(side, stride) for side, stride in zip(info.shape, span.strides, strict=True) if side > 1]
    numbers = np.frombuffer(content, f"V{width}", span.length // width, span.start)[span.offset :]
    view = as_strided(numbers, [side for side, _ in sides], [stride * width for _, stride in sides], writeable=False)
    rows = max(1, _CHUNK * len(view) // size)
    for at in range(0, len(view), rows):
        yield np.ascontiguousarray(view[at : at + rows]).view(np.uint8).reshape(-1).data
