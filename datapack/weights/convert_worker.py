"""What converts a file, in the process that `isolation` starts."""

from __future__ import annotations

import json
import mmap
import os
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.errors import WeightsError
from datapack.text import counted
from datapack.text import size as readable_size
from datapack.weights.model import BITS
from datapack.weights.read import read_pickles
from datapack.weights.torch_legacy import read_legacy
from datapack.weights.torch_tar import read_tar
from datapack.weights.torch_zip import read_zip
from datapack.weights.write import write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from datapack.weights.model import Span, TensorInfo, WeightsFile

    Tensors = dict[str, tuple[TensorInfo, Span]]

_READERS = (read_zip, read_tar, read_legacy)  # imported here: later, no file can be opened
_SHOWN = 20  # names in an error
_CHUNK = 16 << 20  # bytes


def converter(value: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Return the function that converts an open file into another one, after mapping the first."""
    b"x".decode("cp437")  # the names in a ZIP archive may need it, and later it can't be imported
    file = os.fdopen(value["source"], "rb")
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return partial(_convert, value, file, content)


def _convert(value: dict[str, Any], file: Any, content: mmap.mmap) -> dict[str, Any]:
    path = Path(value["path"])
    found = read_pickles(file, path)
    _refuse_calls(found, path)
    tensors = _select(found, value["key"], path)
    _refuse_unusual(found, tensors, value["key"], path)
    size = sum(info.numbers * BITS[info.dtype] // 8 for info, _ in tensors.values())
    if size > value["most"]:
        expected = f"at most {readable_size(value['most'])}"
        raise WeightsError("its tensors share numbers, and would be huge without", where=path, expected=expected)
    _check_sums(content, tensors, path)
    facts = {"classes": list(found.classes), "left_out": list(found.left_out)}
    with os.fdopen(value["target"], "wb") as out:
        write_safetensors(out, content, tensors, _metadata(value, facts))
    return {"tensors": len(tensors), "format": found.format, **facts}


def _metadata(value: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
    """Return the metadata: where the tensors are from, and what else was there."""
    about = {"form": 1, "source": value["about"], "key": value["key"], **facts}
    text = json.dumps(about, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {"converted": text, "format": "pt"}  # some programs want to know the framework


def _select(found: WeightsFile, key: str, path: Path) -> Tensors:
    """Return the tensors to convert: all, or those below a key, whose names then begin after it."""
    start = f"{key}." if key else ""
    names = [name for name in found.tensors if name.startswith(start)]
    if not names:
        keys = sorted({name.partition(".")[0] for name in found.tensors})
        what = f"no tensors below the key {key!r}" if key else "no tensors in it"
        raise WeightsError(what, where=path, expected="one of its keys" if keys else None, found=_few(keys) or None)
    return {name.removeprefix(start): (found.tensors[name], found.spans[name]) for name in names}


def _few(names: list[str]) -> str:
    return ", ".join([*names[:_SHOWN], *["..."] * (len(names) > _SHOWN)])


def _refuse_calls(found: WeightsFile, path: Path) -> None:
    if found.functions:
        raise WeightsError(
            "loading this pickle would run code: it is not converted, and nothing was run",
            where=path,
            found=counted(len(found.functions), "call"),
            fix="ask its author for safetensors; do not load it",
            details=found.calls,
        )


def _refuse_unusual(found: WeightsFile, tensors: Tensors, key: str, path: Path) -> None:
    """Refuse tensors whose numbers safetensors can't hold: nothing is dropped silently."""
    start = f"{key}." if key else ""
    lines = [f"{name}: {why}" for name, why in found.unusual.items() if name.startswith(start)]
    lines += [f"{name}: of the type {info.dtype}" for name, (info, _) in tensors.items() if info.dtype not in BITS]
    if lines:
        raise WeightsError(
            "tensors that safetensors can't hold", where=path, found=counted(len(lines), "tensor"), details=tuple(lines)
        )


def _check_sums(content: mmap.mmap, tensors: Mapping[str, tuple[TensorInfo, Span]], path: Path) -> None:
    """Check the CRC-32 of each storage: PyTorch would refuse a damaged one too."""
    storages = {span.start: (name, span) for name, (_, span) in tensors.items() if span.crc is not None}
    view = memoryview(content)
    for name, span in storages.values():
        crc = 0
        for at in range(span.start, span.start + span.length, _CHUNK):
            crc = zlib.crc32(view[at : min(at + _CHUNK, span.start + span.length)], crc)
        if crc != span.crc:
            raise WeightsError(f"the numbers of {name} are damaged: their CRC-32 differs", where=path)
