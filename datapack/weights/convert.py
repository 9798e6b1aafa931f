"""Convert PyTorch's files to safetensors, without PyTorch, in a process of its own. Nothing in a file is run."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import WeightsError
from datapack.files import check_space, disk_errors, open_regular, sync, sync_folder, temporary_file
from datapack.hashing import hash_file
from datapack.weights.isolation import Limits, run_isolated
from datapack.weights.read import HEAD, is_pytorch
from datapack.weights.safetensors_file import read_safetensors

if TYPE_CHECKING:
    from pathlib import Path

ENDING = ".safetensors"
_MEMORY = 3 << 30  # bytes beside the file itself: numpy takes one
_SECONDS, _PER_SECOND = 120, 20_000_000  # of CPU time, and bytes of the file in one more: it takes a tenth of that
_LARGEST_RATIO, _LEAST = 4, 64 << 20  # of the result to the file, and bytes that a result may have in any case


@dataclass(frozen=True)
class Conversion:
    """A file that was converted."""

    source: str
    source_digest: str
    target: str
    digest: str
    format: str  # of the source
    tensors: int
    bytes: int  # of the result
    classes: tuple[str, ...]  # of objects in the pickle, which were not made
    left_out: tuple[str, ...]  # places of values that are not tensors

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def convert(source: Path, target: Path, *, key: str = "") -> Conversion:
    """Convert ``.pth``, ``.pt``, ``.bin`` or ``.ckpt`` to safetensors. The same file gives the same bytes.

    Tensors keep their names; names of nested keys are joined by dots. Each tensor is written whole, also one that
    shares its numbers with another.

    Args:
        source: the PyTorch file.
        target: where to write; an existing file with other content is an error.
        key: convert only the tensors below this key, such as ``ema``, and let their names begin after it.

    Raises:
        WeightsError: the file is broken, loading it would run code, it has no tensors, or safetensors can't hold one.
    """
    with disk_errors(source, WeightsError), open_regular(source, WeightsError) as file:
        head, size = file.read(HEAD), file.seek(0, os.SEEK_END)
    if not is_pytorch(head):
        raise WeightsError("not a PyTorch file, so it can't be converted", where=source)
    digest = hash_file(source.resolve())
    about = {"name": source.name, "sha256": digest}
    with disk_errors(target, WeightsError):
        check_space(target.parent, size, WeightsError)
        found, result, count = _write(source, target, size, {"key": key, "about": about})
    return Conversion(
        source=str(source),
        source_digest=f"sha256:{digest}",
        target=str(target),
        digest=f"sha256:{result}",
        format=found["format"],
        tensors=found["tensors"],
        bytes=count,
        classes=tuple(found["classes"]),
        left_out=tuple(found["left_out"]),
    )


def _write(source: Path, target: Path, size: int, value: dict[str, Any]) -> tuple[dict[str, Any], str, int]:
    """Let another process write the result; give it its name. Return what that says, the sha256 and the size."""
    most = _LARGEST_RATIO * size + _LEAST
    limits = Limits(_MEMORY + 2 * size, _SECONDS + size // _PER_SECOND, output=most)
    with open_regular(source, WeightsError) as file, temporary_file(target.parent) as (out, temporary):
        files = (file.fileno(), out.fileno())
        job = {**value, "path": str(source), "source": files[0], "target": files[1], "most": most - _LEAST // 2}
        found = run_isolated("datapack.weights.convert_worker:converter", job, source, limits, files)
        sync(out)
        with open_regular(temporary, WeightsError) as written:
            count = written.seek(0, os.SEEK_END)
            read_safetensors(written, count, temporary)
        digest = hash_file(temporary)
        _check_existing(target, digest)
        temporary.replace(target)
    sync_folder(target.parent)
    return found, digest, count


def _check_existing(target: Path, digest: str) -> None:
    """Refuse to replace a file with other content."""
    if os.path.lexists(target) and (target.is_symlink() or not target.is_file() or hash_file(target) != digest):
        raise WeightsError("already exists, with other content", where=target, fix="remove it, or name another file")
