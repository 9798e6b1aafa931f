"""The losses of a training as numbers: of one step, and summed over an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Sums:
    """What one process adds up during an epoch."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    input_wait_s: float = 0.0  # seconds during which the loop waited for images
    loss: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)

    def add(self, values: StepLosses) -> None:
        """Add the losses of a step."""
        self.steps += 1
        self.loss += values.loss
        for name, value in values.losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value


def summary(sums: Sequence[Sums]) -> dict[str, Any]:
    """Return the training part of an epoch's line in `metrics.jsonl`, from the sums of all processes."""
    first, count = sums[0], len(sums)
    steps, seconds = max(1, first.steps), max(part.seconds for part in sums)
    return {
        "loss": sum(part.loss for part in sums) / count / steps,
        "losses": {name: sum(part.losses[name] for part in sums) / count / steps for name in first.losses},
        "images_per_second": round(sum(part.images for part in sums) / max(seconds, 1e-9), 2),
        "input_wait_s": round(max(part.input_wait_s for part in sums), 3),
        "seconds": round(seconds, 3),
    }


@dataclass(frozen=True)
class StepLosses:
    """The losses of a step, and the images that they are of."""

    step: int  # of the epoch, from 1
    indices: tuple[int, ...]
    losses: dict[str, float]
    norm: float  # of the gradient, 0 if it is not known

    @property
    def loss(self) -> float:
        return sum(self.losses.values())

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)

    def not_finite(self) -> str:
        """Name the values that are not finite."""
        values = {**self.losses, "gradient norm": self.norm}
        found = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
        return found or "a sum that is too large"
