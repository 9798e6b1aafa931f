"""What is known about a detector after it has seen the validation images: the content of `coco_eval.json`.

A detection is matched to a box of its category from an IoU of 0.5, 0.55, ... 0.95 on. AP is the precision, averaged
over 101 recalls, those ten thresholds and the categories that have boxes: over all categories others call it mAP.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Scores:
    """COCO's averages, from 0 to 1; None where there is no box to find."""

    AP: float | None
    AP50: float | None
    AP75: float | None
    AR: float | None  # the recall reached, averaged over thresholds and categories


@dataclass(frozen=True)
class Summary:
    """The averages at one number of detections: the best of each category in an image, as COCO counts them."""

    all: Scores
    sizes: dict[str, Scores]  # as in Evaluation.size_boxes
    categories: tuple[Scores, ...]  # as in Evaluation.categories


@dataclass(frozen=True)
class CategoryBoxes:
    """A category, and how many boxes of it there are to find."""

    id: int
    name: str
    boxes: int


@dataclass(frozen=True)
class Confusion:
    """What the boxes were taken for: one-to-one matches of whatever category, the highest score first.

    ``matrix[i][j]`` counts boxes of category i that were detected as category j. The last row counts detections where
    there is no box, the last column boxes that were not detected. Crowds are left out.
    """

    score: float  # a detection with less does not count
    iou: float
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Evaluation:
    """How good a detector is on the validation images. Boxes are counted without crowds."""

    images: int
    boxes: int
    detections: int
    size_boxes: dict[str, int]  # small, medium, large: areas up to 32², up to 96², from 96² on, in the file's pixels
    at100: Summary
    at300: Summary
    categories: tuple[CategoryBoxes, ...]
    confusion: Confusion
    recall: tuple[float, ...]  # 101 points from 0 to 1
    precision: tuple[tuple[float, ...] | None, ...]  # of each category at these, IoU 0.5, 100 detections

    def to_json(self) -> dict[str, Any]:
        """Return what `coco_eval.json` holds: finite numbers, and null where there is no box."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Evaluation:
        """Make an evaluation of the content of its `coco_eval.json`."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(content)

    def brief(self) -> dict[str, Any]:
        """Return what an epoch's line in `metrics.jsonl` holds: the averages over all categories."""
        return {**_brief(self.at100.all), "at300": _brief(self.at300.all)}


def _brief(scores: Scores) -> dict[str, float | None]:
    return {"mAP": scores.AP, "mAP50": scores.AP50, "mAP75": scores.AP75}
