"""`checkpoint.safetensors`, from which a training resumes: arrays, and in the metadata everything else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import safetensors.numpy

from datapack.files import check_space
from datapack.jsonfile import parse_json
from trainers.errors import ConfigError, TrainingError
from trainers.training.checkpoint import FIX
from trainers.training.model_file import SafetensorsFile, readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.run.folder import Run

CHECKPOINT = "checkpoint.safetensors"

_KEY = "checkpoint"  # of the metadata
_AROUND = 1 << 20  # bytes: an upper bound for what a file holds besides its arrays


def save(run: Run, head: Mapping[str, Any], arrays: dict[str, NDArray[Any]], taken: int) -> None:
    """Write the checkpoint of a run; an earlier one stays until the new one is complete.

    Args:
        run: the run that it belongs to.
        head: plain values, as in JSON, which the loop resumes from.
        arrays: weights and the state of the optimizer, by name.
        taken: steps of the training so far.

    Raises:
        TrainingError: there is not enough disk space.
    """
    check_space(run.folder, sum(array.nbytes for array in arrays.values()) + _AROUND, TrainingError)
    content = json.dumps({**head, "taken": taken}, ensure_ascii=False, allow_nan=False)
    with run.write(CHECKPOINT) as file:
        file.write(safetensors.numpy.save(arrays, {_KEY: content}))


def read(path: Path) -> dict[str, Any]:
    """Return the head of a checkpoint and, as ``state``, its arrays and the number of steps.

    Raises:
        TrainingError: the file is of another kind, or damaged.
    """
    try:
        file = SafetensorsFile.read(path)
        text = file.metadata.get(_KEY)
        head = parse_json(text.encode(), path, ConfigError, limit=None) if isinstance(text, str) else None
        if not isinstance(head, dict) or not isinstance(head.get("taken"), int):
            raise TrainingError("not a checkpoint", where=path, fix=FIX)
        with readable(path):
            arrays = safetensors.numpy.load(file.content)
    except ConfigError as error:
        raise TrainingError("can't read the checkpoint", where=path, found=error.what, fix=FIX) from error
    return {**head, "state": {"arrays": arrays, "taken": head["taken"]}}
