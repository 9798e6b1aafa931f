"""Validation images with their boxes and detections. They are images of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainers.report.plots import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_TRUTH, _FOUND = "#FFFFFF", "#FFB000"
_LEGIBLE = 24  # with more boxes than this in an image, names are left out


@dataclass(frozen=True)
class Sample:
    """An image with its boxes and detections; boxes (n, 4) are x1, y1, x2, y2 in the image's pixels."""

    name: str
    image: NDArray[np.uint8]  # (height, width, 3), RGB
    boxes: NDArray[Any]
    labels: NDArray[np.int64]
    found_boxes: NDArray[Any]
    found_labels: NDArray[np.int64]
    found_scores: NDArray[Any]


def draw_sample(sample: Sample, names: Sequence[str], score: float) -> bytes:
    """Draw an image as JPEG: boxes of the dataset dashed in white, detections with at least ``score`` in orange.

    ``names[label - 1]`` is the name of a category.
    """
    shown = sample.found_scores >= score
    found = list(zip(sample.found_boxes[shown], sample.found_labels[shown], sample.found_scores[shown], strict=True))
    legible = len(sample.boxes) + len(found) <= _LEGIBLE
    height, width = sample.image.shape[:2]

    def draw(figure: Figure) -> None:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(sample.image, extent=(0, width, height, 0), aspect="auto")
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        for box, label in zip(sample.boxes, sample.labels, strict=True):
            _box(axes, box, names[label - 1] if legible else "", _TRUTH, dashed=True)
        for box, label, certainty in found:
            _box(axes, box, f"{names[label - 1]} {certainty:.2f}" if legible else "", _FOUND, dashed=False)

    return render(draw, 6, 6 * height / width, "jpeg")


def _box(axes: Axes, box: NDArray[Any], text: str, colour: str, *, dashed: bool) -> None:
    """Draw a box with a dark outline, visible on any image; names of detections are above, those of boxes below."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = map(float, box)
    for edge, line, style in (("black", 2.6, "-"), (colour, 1.3, "--" if dashed else "-")):
        shape = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=edge, linewidth=line, linestyle=style)
        axes.add_patch(shape)
    if text:
        width, height = axes.get_xlim()[1], axes.get_ylim()[0]
        x, side = (x1, "left") if x1 < width / 2 else (x2, "right")
        y, anchor = (min(y2, 0.95 * height), "top") if dashed else (max(y1, 0.05 * height), "bottom")
        ground = {"facecolor": "black", "alpha": 0.75, "pad": 1.2, "linewidth": 0}
        axes.text(x, y, text, color=colour, fontsize=7, ha=side, va=anchor, bbox=ground, clip_on=True)
