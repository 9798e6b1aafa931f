"""The learning rate of a training, step by step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.config import TrainingSection

REFERENCE = 16  # images of a step that `learning_rate` is meant for

_FIRST = 1e-3  # share of the learning rate at the first step
_LAST = 1e-2  # and at the end of the cosine


def highest_rate(section: TrainingSection, replicas: int) -> float:
    """Return the highest learning rate, scaled in proportion to the images of a step (Goyal et al. 2017).

    Args:
        section: the learning rate for a step of `REFERENCE` images, and the size of a batch.
        replicas: copies of the model, each of which gets a batch of that size.
    """
    images = section.batch_size * section.accumulate * replicas
    return section.learning_rate * images / REFERENCE


def factor(step: int, steps: int, section: TrainingSection) -> float:
    """Return the learning rate at a step of ``steps``, counted from 0, as a fraction of the highest one."""
    warmup = min(section.warmup_steps, steps // 3)
    if step < warmup:
        return _FIRST + (1 - _FIRST) * step / warmup
    if section.schedule == "cosine":
        way = min(1.0, (step - warmup) / max(1, steps - warmup))
        return float(_LAST + (1 - _LAST) * (1 + math.cos(math.pi * way)) / 2)
    return float(0.1 ** sum(step >= milestone * steps for milestone in section.milestones))
