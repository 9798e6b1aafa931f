"""How far a training is, and how it gets into a checkpoint and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from trainers.training.losses import Sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass
class Progress:
    """A training between two steps, as one process knows it."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the current epoch
    sums: Sums = field(default_factory=Sums)  # of this process, over these steps
    rows: list[dict[str, Any]] = field(default_factory=list)  # of metrics.jsonl, one for each finished epoch
    best: dict[str, Any] | None = None  # the best row, also of an epoch that the time limit cut short
    model_hash: str = ""  # sha256 of its model.safetensors

    def to_json(self, sums: Sequence[Sums]) -> dict[str, Any]:
        """Return the part of a checkpoint, of plain values.

        Args:
            sums: of all processes, by rank; everything else is the same in all of them.
        """
        return {**asdict(self), "sums": [asdict(part) for part in sums]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], rank: int) -> Progress:
        """Make the progress of the process ``rank`` from what `to_json` returned."""
        return cls(**{**content, "rows": list(content["rows"]), "sums": Sums(**content["sums"][rank])})
