"""Checks of the boxes of COCO files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datapack.inspect.findings import EXAMPLES, Finding, Rule, drop_lines, few
from datapack.inspect.frames import frame_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from datapack.inspect.model import Coco, Survey

    Mask = NDArray[np.bool_]

_EDGE = 1.0  # pixels: less than that beyond the edge is rounding
_TINY = 4  # pixels
_WHOLE = 0.99  # of an image's area


class _Boxes(NamedTuple):
    """M boxes of a COCO file, and what the checks ask about them."""

    coco: Coco
    corners: NDArray[np.float64]  # (M, 4) x1, y1, x2, y2
    frames: NDArray[np.float64]  # (M, 2) width and height of each box's image; NaN if unknown
    finite: Mask
    sound: Mask  # finite, with a width and a height

    @classmethod
    def of(cls, coco: Coco, sizes: NDArray[np.int64]) -> _Boxes:
        boxes = coco.boxes
        finite: Mask = np.asarray(np.isfinite(boxes).all(axis=1))
        frames = np.full((len(boxes), 2), np.nan)
        owned = coco.owners >= 0
        frames[owned] = np.where(sizes > 0, sizes, np.nan)[coco.owners[owned]]
        with np.errstate(invalid="ignore", over="ignore"):
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
            sound: Mask = finite & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        return cls(coco, corners, frames, finite, sound)


def _not_finite(boxes: _Boxes) -> Mask:
    return ~boxes.finite


def _empty(boxes: _Boxes) -> Mask:
    return boxes.finite & ~boxes.sound


def _outside(boxes: _Boxes) -> Mask:
    beyond = (boxes.corners[:, :2] >= boxes.frames).any(axis=1)
    return boxes.sound & (beyond | ((boxes.corners[:, 2:] <= 0).any(axis=1) & ~np.isnan(boxes.frames[:, 0])))


def _over_edge(boxes: _Boxes) -> Mask:
    beyond = (boxes.corners[:, 2:] > boxes.frames + _EDGE).any(axis=1)
    before = (boxes.corners[:, :2] < -_EDGE).any(axis=1) & ~np.isnan(boxes.frames[:, 0])
    return boxes.sound & ~_outside(boxes) & (beyond | before)


def _duplicates(boxes: _Boxes) -> Mask:
    """Find boxes that are equal to an earlier one of their image, with the same category."""
    coco = boxes.coco
    chosen = np.flatnonzero(boxes.sound & ~coco.crowd & (coco.owners >= 0))
    columns = np.column_stack([coco.boxes[chosen], coco.labels[chosen], coco.owners[chosen]])
    order = np.lexsort(columns.T)  # stable: of equal boxes, the file's first comes first
    again = (columns[order[1:]] == columns[order[:-1]]).all(axis=1)
    found = np.zeros(len(coco.boxes), np.bool_)
    found[chosen[order[1:][again]]] = True
    return found


def _tiny(boxes: _Boxes) -> Mask:
    return boxes.sound & (boxes.coco.boxes[:, 2:] < _TINY).any(axis=1) & ~_fractions(boxes)


def _fractions(boxes: _Boxes) -> Mask:
    """Find all boxes of a list whose numbers are from 0 to 1: no list has only boxes of less than a pixel."""
    sides = boxes.coco.boxes
    are = len(sides) and bool(boxes.sound.any()) and bool(((sides >= 0) & (sides <= 1))[boxes.finite].all())
    return boxes.sound if are else np.zeros(len(sides), np.bool_)


def _whole(boxes: _Boxes) -> Mask:
    shown = np.clip(boxes.corners, 0, np.tile(boxes.frames, 2))
    area = (shown[:, 2] - shown[:, 0]) * (shown[:, 3] - shown[:, 1])
    return boxes.sound & (area >= _WHOLE * boxes.frames[:, 0] * boxes.frames[:, 1])


def _crowd(boxes: _Boxes) -> Mask:
    return boxes.coco.crowd


def _no_image(boxes: _Boxes) -> Mask:
    return boxes.coco.owners < 0


def _no_category(boxes: _Boxes) -> Mask:
    return boxes.coco.labels < 0


_DROP = "Correct them in the COCO file, or leave them out."
_FIND: dict[Rule, Callable[[_Boxes], Mask]] = {
    Rule(
        "DP309",
        "warning",
        "duplicate boxes",
        "Each copy counts as an object: training weighs it double, and an evaluation counts one as missed.",
        "Leave the copies out.",
    ): _duplicates,
    Rule(
        "DP310",
        "error",
        "boxes outside their image",
        "They contain nothing to learn from. Often they belong to another image, or the image was resized.",
        _DROP,
    ): _outside,
    Rule(
        "DP311",
        "warning",
        "boxes that extend beyond the edge of their image",
        "Some programs clip them, others fail. If there are many, the image sizes may be wrong, or boxes have a "
        "second corner instead of width and height.",
        "Clip them in the COCO file, or leave them out.",
    ): _over_edge,
    Rule(
        "DP312",
        "error",
        "boxes without width or height",
        "The loss can become infinite, or training stops with an error.",
        _DROP,
    ): _empty,
    Rule(
        "DP313",
        "error",
        "boxes with NaN or infinite values",
        "One such box makes the loss, and then every weight, NaN.",
        _DROP,
    ): _not_finite,
    Rule(
        "DP314",
        "warning",
        f"boxes with a side of less than {_TINY} pixels",
        "Such a box is often a slip of the mouse. Detectors can't learn it once the image is resized.",
        "Look at the examples. Leave the boxes out if they show nothing.",
    ): _tiny,
    Rule(
        "DP315",
        "note",
        "boxes that cover their whole image",
        "Such a box may label the whole image rather than an object in it.",
        "Look at the examples. Leave the boxes out if they show no object.",
    ): _whole,
    Rule(
        "DP316",
        "note",
        "crowd boxes (iscrowd)",
        "A box with iscrowd stands for many objects. COCO's metrics ignore detections in it, and the trainers "
        "leave it out. CVAT marks every mask as a crowd, even one of a single object.",
        "Do nothing if they are crowds. If they are single objects, set iscrowd to 0 in the COCO file.",
    ): _crowd,
    Rule(
        "DP317",
        "error",
        "boxes without an image",
        "Their image_id is not the id of any image in the COCO file. Some programs fail, others lose the boxes.",
        "Correct image_id in the COCO file, or leave the boxes out.",
    ): _no_image,
    Rule(
        "DP318",
        "error",
        "boxes without a category",
        "Their category_id is not the id of any category in the COCO file. Training stops, or labels are wrong.",
        "Correct category_id or the categories in the COCO file, or leave the boxes out.",
    ): _no_category,
    Rule(
        "DP327",
        "error",
        "boxes in fractions of their image",
        "All their numbers are from 0 to 1, as YOLO writes them. COCO uses pixels, so programs see almost nothing.",
        "Multiply them by the width and height of their image. YOLO's first two numbers are the centre, not a corner.",
    ): _fractions,
}
_CANT_DROP = {"DP316", "DP327"}


def check_boxes(survey: Survey) -> Iterator[Finding]:
    """Check every box."""
    sizes = frame_sizes(survey)
    found: dict[Rule, dict[str, NDArray[np.int64]]] = {rule: {} for rule in _FIND}
    examples: dict[Rule, list[str]] = {rule: [] for rule in _FIND}
    for coco in survey.cocos:
        boxes = _Boxes.of(coco, sizes[coco.path])
        for rule, find in _FIND.items():
            with np.errstate(invalid="ignore", over="ignore"):
                places = np.flatnonzero(find(boxes))
            if len(places):
                found[rule][coco.path] = coco.rows[places]
                wanted = EXAMPLES - len(examples[rule])
                examples[rule] += [_describe(boxes, place) for place in places[:wanted].tolist()]
    for rule, rows in found.items():
        if rows:
            catalog = "" if rule.code in _CANT_DROP else drop_lines(survey.reference, rule.code)
            count = sum(map(len, rows.values()))
            yield Finding(rule, count, few(examples[rule]), catalog, boxes=rows)


def _describe(boxes: _Boxes, place: int) -> str:
    coco, owner, label = boxes.coco, int(boxes.coco.owners[place]), int(boxes.coco.labels[place])
    numbers = ", ".join(f"{side:.10g}" for side in coco.boxes[place])
    what = f" {coco.categories[label].name!r}" if label >= 0 else ""
    where = f" in {coco.names[owner]}" if owner >= 0 else ""
    width, height = boxes.frames[place]
    size = "" if np.isnan(width) else f" ({width:.0f} x {height:.0f})"
    return f"{coco.path}: annotations[{coco.rows[place]}]{what}: [{numbers}]{where}{size}"


RULES = tuple(_FIND)
CHECKS = (check_boxes,)
