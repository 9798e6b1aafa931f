"""The losses of a training, read from the device while the next step runs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import torch

from trainers.training.losses import StepLosses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class DeferredLosses:
    """Reads the losses of a step after the next step has started, so that nothing waits for the GPU."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, tuple[int, ...], list[str], Tensor, torch.cuda.Event | None]] = deque()

    def put(self, step: int, indices: Sequence[int], losses: dict[str, Tensor], norm: Tensor) -> None:
        """Take the losses of a step, scalars on its device."""
        values = torch.stack([*losses.values(), norm]).to("cpu", non_blocking=True)
        ready = None
        if norm.is_cuda:
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
        self._waiting.append((step, tuple(indices), list(losses), values, ready))

    def read(self, *, keep: int = 1) -> list[StepLosses]:
        """Return the losses of all steps but the last ``keep``."""
        done = []
        while len(self._waiting) > keep:
            step, indices, names, values, ready = self._waiting.popleft()
            if ready is not None:
                ready.synchronize()
            *losses, norm = values.tolist()
            done.append(StepLosses(step, indices, dict(zip(names, losses, strict=True)), norm))
        return done
