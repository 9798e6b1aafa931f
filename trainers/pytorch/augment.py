"""Random augmentation of the training images: drawn for each image, then applied with torchvision's transforms v2.

The draws use a generator that the caller passes, never torch's own: threads can draw at the same time, and a resumed
run draws the same. Boxes are augmented on the CPU, images on the device that they are on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F  # noqa: N812 - its name in torchvision's own documentation

from trainers.dataset.coco import SMALLEST

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from trainers.config import AugmentationSection

_SMALLEST_CROP = 0.5  # share of each side


@dataclass(frozen=True)
class Augmentation:
    """What is done to one image."""

    source: tuple[int, int]  # height and width of the image, pixels
    crop: tuple[int, int, int, int]  # top, left, height and width
    size: tuple[int, int]  # height and width that the crop is resized to
    flip: bool
    brightness: float = 1.0  # factors; 1 changes nothing
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0  # turns of the colour wheel

    def image(self, image: Tensor) -> Tensor:
        """Apply it to a uint8 image (3, H, W) in channels_last memory; return a new one."""
        image = self._move(image)
        if self._recolours:
            image = self._recolour(image)
        # a crop, and the result of some operations above, is not contiguous or has another memory format
        return image.permute(1, 2, 0).contiguous().permute(2, 0, 1)

    def boxes(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Apply it to boxes (n, 4), x1 y1 x2 y2 in pixels; return the boxes that remain, and which (n, bool) they are.

        As in torchvision's `RandomIoUCrop`, a box remains if its centre is in the crop. It is clamped to the crop, and
        dropped if a side is at most 1 pixel long.
        """
        top, left, height, width = self.crop
        x, y = (boxes[:, :2] + boxes[:, 2:]).div(2).unbind(1)
        inside = (x >= left) & (x <= left + width) & (y >= top) & (y <= top + height)
        moved = self._move(tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=self.source))
        moved = F.clamp_bounding_boxes(moved).as_subclass(torch.Tensor)
        kept = inside & (moved[:, 2:] - moved[:, :2] > SMALLEST).all(1)
        return moved[kept], kept

    def _move(self, what: Any) -> Any:
        """Crop, resize and flip an image or boxes."""
        if self.crop != (0, 0, *self.source):
            what = F.crop(what, *self.crop)
        if self.size != self.crop[2:]:
            what = F.resize(what, list(self.size), antialias=True)
        return F.horizontal_flip(what) if self.flip else what

    @property
    def _recolours(self) -> bool:
        return (self.brightness, self.contrast, self.saturation, self.hue) != (1, 1, 1, 0)

    def _recolour(self, image: Tensor) -> Any:
        """Change the colours, in float32: on a CPU that takes half as long as rounding after each step."""
        colours = F.to_dtype(image, torch.float32, scale=True)
        if self.brightness != 1:
            colours = F.adjust_brightness(colours, self.brightness)
        if self.contrast != 1:
            colours = F.adjust_contrast(colours, self.contrast)
        if self.saturation != 1:
            colours = F.adjust_saturation(colours, self.saturation)
        if self.hue:
            colours = F.adjust_hue(colours, self.hue)
        return F.to_dtype(colours, torch.uint8, scale=True)


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
