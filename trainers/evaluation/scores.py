"""The evaluation of a detector on the validation images: the content of `coco_eval.json`.

A detection matches a box of its category if their IoU reaches a threshold: 0.5, 0.55, ... 0.95. AP is the precision,
averaged over 101 recalls, these ten thresholds and all categories with boxes. For all categories together it is called
mAP.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Scores:
    """COCO's averages, from 0 to 1; None if there are no boxes to find."""

    AP: float | None
    AP50: float | None
    AP75: float | None
    AR: float | None  # the highest recall, averaged over thresholds and categories


@dataclass(frozen=True)
class Summary:
    """The averages for a maximum number of detections per category and image, the best ones, as in COCO."""

    all: Scores
    sizes: dict[str, Scores]  # as in Evaluation.size_boxes
    categories: tuple[Scores, ...]  # as in Evaluation.categories


@dataclass(frozen=True)
class CategoryBoxes:
    """A category and its number of boxes to find."""

    id: int
    name: str
    boxes: int


@dataclass(frozen=True)
class Confusion:
    """What the boxes were detected as: one-to-one matches of any categories, the highest score first.

    ``matrix[i][j]`` counts boxes of category i that were detected as category j. The last row counts detections without
    a box, the last column boxes that were not detected. Crowds are left out.
    """

    score: float  # detections below it do not count
    iou: float
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Evaluation:
    """The scores of a detector on the validation images. Counts of boxes leave out crowds."""

    images: int
    boxes: int
    detections: int
    size_boxes: dict[str, int]  # small, medium, large: areas up to 32², up to 96², from 96², in the file's pixels
    at100: Summary
    at300: Summary
    categories: tuple[CategoryBoxes, ...]
    confusion: Confusion
    recall: tuple[float, ...]  # 101 points from 0 to 1
    precision: tuple[tuple[float, ...] | None, ...]  # of each category at these recalls, IoU 0.5, 100 detections

    def to_json(self) -> dict[str, Any]:
        """Return the content of `coco_eval.json`: finite numbers, and null where there are no boxes."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Evaluation:
        """Make an evaluation from the content of `coco_eval.json`."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(content)

    def brief(self) -> dict[str, Any]:
        """Return the averages over all categories, for the epoch's line in `metrics.jsonl`."""
        return {**_brief(self.at100.all), "at300": _brief(self.at300.all)}


def _brief(scores: Scores) -> dict[str, float | None]:
    return {"mAP": scores.AP, "mAP50": scores.AP50, "mAP75": scores.AP75}
