"""Losses that are read later."""

import torch

from trainers.pytorch.losses import DeferredLosses
from trainers.training.losses import StepLosses


def put(late: DeferredLosses, step: int, value: float, norm: float = 1.0) -> None:
    late.put(step, [step, step + 1], {"a": torch.tensor(value), "b": torch.tensor(1.0)}, torch.tensor(norm))


def test_losses_are_read_after_the_next_step_has_started():
    """The last step stays unread until it is asked for."""
    late = DeferredLosses()
    put(late, 1, 0.5)
    assert late.read() == []
    put(late, 2, 0.25)
    assert late.read() == [StepLosses(1, (1, 2), {"a": 0.5, "b": 1.0}, 1.0)]
    assert [step.step for step in late.read(keep=0)] == [2]
    assert late.read(keep=0) == []
