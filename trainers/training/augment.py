"""Random augmentation of the training images: drawn for each image here, applied to images by each framework.

The draws use a generator that the caller passes, never a global one: threads can draw at the same time, and a resumed
run draws the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.dataset.coco import SMALLEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.config import AugmentationSection

_SMALLEST_CROP = 0.5  # share of each side


@dataclass(frozen=True)
class Augmentation:
    """What is done to one image, in this order: cropped, resized, mirrored, recoloured."""

    source: tuple[int, int]  # height and width of the image, pixels
    crop: tuple[int, int, int, int]  # top, left, height and width
    size: tuple[int, int]  # height and width that the crop is resized to
    flip: bool
    brightness: float = 1.0  # factors; 1 changes nothing
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0  # turns of the colour wheel

    def boxes(self, boxes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Apply it to boxes (n, 4), x1 y1 x2 y2 in pixels; return the boxes that remain, and which (n,) they are.

        As in torchvision's `RandomIoUCrop`, a box remains if its centre is in the crop. It is clamped to the crop, and
        dropped if a side is at most 1 pixel long.
        """
        top, left, height, width = self.crop
        x, y = ((boxes[:, :2] + boxes[:, 2:]) / np.float32(2)).T
        inside = (x >= left) & (x <= left + width) & (y >= top) & (y <= top + height)
        moved = boxes
        if self.crops:
            moved = _clamped(boxes - np.array((left, top) * 2, np.float32), height, width)
        moved = moved * np.array((self.size[1] / width, self.size[0] / height) * 2, np.float32)
        if self.flip:
            moved[:, [2, 0]] = np.float32(self.size[1]) - moved[:, [0, 2]]
        moved = _clamped(moved, *self.size)
        kept = inside & (moved[:, 2:] - moved[:, :2] > SMALLEST).all(axis=1)
        return moved[kept], kept

    @property
    def crops(self) -> bool:
        """Whether it leaves out a part of the image."""
        return self.crop != (0, 0, *self.source)

    @property
    def resizes(self) -> bool:
        """Whether it changes the size of the crop."""
        return self.size != self.crop[2:]

    @property
    def recolours(self) -> bool:
        """Whether it changes colours."""
        return (self.brightness, self.contrast, self.saturation, self.hue) != (1, 1, 1, 0)


class Augment:
    """Draws the augmentation of each image, as the configuration says."""

    def __init__(self, section: AugmentationSection) -> None:
        self.section = section

    def scale(self, draw: np.random.Generator) -> float:
        """Draw the scale of all images of a batch.

        A batch is padded to its largest image: with a scale for each image, a third of a batch of 8 would be padding.
        """
        return float(draw.uniform(*self.section.scale))

    def draw(
        self, size: tuple[int, int], boxes: NDArray[np.float32], scale: float, draw: np.random.Generator
    ) -> Augmentation:
        """Draw the augmentation of an image of this size, height and width in pixels, with boxes (n, 4)."""
        section = self.section
        crop = _draw_crop(size, boxes, draw) if draw.random() < section.crop else (0, 0, *size)
        return Augmentation(
            source=size,
            crop=crop,
            size=(max(1, round(crop[2] * scale)), max(1, round(crop[3] * scale))),
            flip=bool(draw.random() < section.flip),
            brightness=1 + float(draw.uniform(-1, 1)) * section.brightness,
            contrast=1 + float(draw.uniform(-1, 1)) * section.contrast,
            saturation=1 + float(draw.uniform(-1, 1)) * section.saturation,
            hue=float(draw.uniform(-1, 1)) * section.hue,
        )


def _draw_crop(
    size: tuple[int, int], boxes: NDArray[np.float32], draw: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a crop with the proportions of the image that holds the centre of a box, if there is one."""
    share = draw.uniform(_SMALLEST_CROP, 1)
    height, width = (max(1, round(side * share)) for side in size)
    if len(boxes):
        left, top, right, bottom = boxes[draw.integers(len(boxes))]
        x, y = float(left + right) / 2, float(top + bottom) / 2
    else:
        y, x = draw.random(2) * size
    return _start(y, height, size[0], draw), _start(x, width, size[1], draw), height, width


def _start(centre: float, length: int, whole: int, draw: np.random.Generator) -> int:
    """Draw the start of a side of this length that holds ``centre``."""
    first, last = max(0, math.ceil(centre - length)), min(whole - length, math.floor(centre))
    return int(draw.integers(first, last + 1))


def _clamped(boxes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    return np.clip(boxes, 0, np.array((width, height) * 2, np.float32))
