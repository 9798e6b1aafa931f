"""The tensors that models of known architectures have, and how weights differ from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.weights.model import TensorInfo

_TABLE = Path(__file__).with_name("architectures.json")  # made by scripts/architectures.py
_COUNTER = ".num_batches_tracked"  # of BatchNorm: frozen ones have none
_LABELS = "c"  # marks a side that is a multiple of the number of labels


@dataclass(frozen=True)
class Architecture:
    """An architecture: its tensors, whose sides can depend on the number of categories."""

    background: int  # labels that are not categories: 1 if there is one for the background
    tensors: Mapping[str, tuple[str, ...]]  # the sides of each: "64", or "4c" for four times the number of labels

    def labels(self, found: Mapping[str, TensorInfo]) -> int | None:
        """Return the number of labels that tensors are for: of several, the one of most tensors; None if of none."""
        votes: dict[int, int] = {}
        for name, sides in self.tensors.items():
            shape = found[name].shape if name in found else ()
            for side, size in zip(sides, shape, strict=False):
                factor = _factor(side)
                if factor and size % factor == 0:
                    votes[size // factor] = votes.get(size // factor, 0) + 1
        return max(votes, key=lambda labels: (votes[labels], labels)) if votes else None

    def categories(self, found: Mapping[str, TensorInfo]) -> int | None:
        """Return the number of categories that tensors are for; None if none of them shows it."""
        labels = self.labels(found)
        return None if labels is None else labels - self.background

    def differences(self, found: Mapping[str, TensorInfo]) -> list[str]:
        """Return a line for each tensor that is missing, additional or of another shape, whatever the categories."""
        labels = self.labels(found)
        lines = []
        for name, sides in self.tensors.items():
            if name not in found:
                lines.append(f"{name} is missing")
            elif found[name].shape != (expected := _shape(sides, labels or 0)):
                lines.append(f"{name} has the shape {_text(found[name].shape)}, not {_text(expected)}")
        extra = found.keys() - self.tensors.keys()
        return lines + [f"{name} is not part of it" for name in sorted(extra) if not name.endswith(_COUNTER)]


def _factor(side: str) -> int:
    return int(side.removesuffix(_LABELS)) if side.endswith(_LABELS) else 0


def _shape(sides: tuple[str, ...], labels: int) -> tuple[int, ...]:
    return tuple(_factor(side) * labels if _factor(side) else int(side) for side in sides)


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "of one number"


@cache
def architectures() -> Mapping[str, Architecture]:
    """Return the known architectures by the names that they have in ``model.json``."""
    table: dict[str, Any] = json.loads(_TABLE.read_bytes())
    return {
        name: Architecture(row["background"], {path: tuple(text.split()) for path, text in _leaves(row["tensors"])})
        for name, row in table.items()
    }


def _leaves(tree: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, str):
            yield f"{start}{name}", value
        else:
            yield from _leaves(value, f"{start}{name}.")
