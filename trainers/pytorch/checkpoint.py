"""`checkpoint.pt`, from which a training resumes bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from datapack.files import check_space
from trainers.config.frameworks import PYTORCH
from trainers.errors import TrainingError
from trainers.pytorch.weights import load
from trainers.training.checkpoint import FIX

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.run.folder import Run

_AROUND = 1 << 20  # bytes: an upper bound for what a file holds besides its tensors


def save_checkpoint(run: Run, head: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write `checkpoint.pt`; an earlier one stays until the new one is complete.

    Args:
        run: the run that it belongs to.
        head: plain values, from `trainers.training.checkpoint.checkpoint_head`.
        state: tensors and plain values: everything else that the training resumes from.

    Raises:
        TrainingError: there is not enough disk space.
    """
    content = {**head, "state": dict(state)}
    check_space(run.folder, _bytes(content) + _AROUND, TrainingError)
    with run.write(PYTORCH.checkpoint) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch then also fails to close its archive
                raise error.__context__ from None
            raise


def read_checkpoint(path: Path) -> Any:
    """Return the content of a file that `torch.save` wrote; raise `TrainingError` if it is something else."""
    return load(path, "checkpoint", TrainingError, fix=FIX)


def _bytes(value: Any) -> int:
    """Return the size of the tensors in ``value``, bytes."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
