"""What the program does: check, train, evaluate, predict. Torch is imported after the data is known to be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers import intake

if TYPE_CHECKING:
    from trainers.config import Config
    from trainers.intake import Surroundings
    from trainers.outputs import Run


def check(config: Config, around: Surroundings, _run: Run | None) -> str:
    """Check the data as the configuration says; return which dataset it is."""
    dataset = intake.check(config, around)
    return f"{dataset.reference} {dataset.manifest.digest}"
