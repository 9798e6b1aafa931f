"""What is varied about the images in training, at random: drawn for each image, then done with torchvision's v2.

What is drawn depends on one generator, never on torch's own: threads may draw at once, and a resumed run draws alike.
Boxes are varied where they are, and images on the device that they are on.
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

_SMALLEST_CROP = 0.5  # of each side


@dataclass(frozen=True)
class Variation:
    """What is done to one image."""

    source: tuple[int, int]  # height and width of the image, pixels
    crop: tuple[int, int, int, int]  # top, left, height and width of the part that is kept
    size: tuple[int, int]  # height and width that this part is resized to
    flip: bool
    brightness: float = 1.0  # factors; 1 changes nothing
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0  # turns of the colour wheel

    def image(self, image: Tensor) -> Tensor:
        """Vary a uint8 image (3, H, W) whose memory is channels_last; return another such."""
        image = self._move(image)
        if self._recolours:
            image = self._recolour(image)
        # a part of an image, and some of the above, are not in one piece, or in another order
        return image.permute(1, 2, 0).contiguous().permute(2, 0, 1)

    def boxes(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Vary boxes (n, 4), x1 y1 x2 y2 in pixels; return those that are left, and which (n, bool) they are.

        As in torchvision's `RandomIoUCrop`, a box is left if its centre is in the part that is kept; it is clamped to
        it, and dropped if a side is at most 1 pixel.
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
        """Change the colours; in float32, which takes half as long on a CPU as rounding after each step."""
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
    """Draws variations, as the configuration asks for."""

    def __init__(self, section: AugmentationSection) -> None:
        self.section = section

    def scale(self, draw: np.random.Generator) -> float:
        """Draw the factor of the size for all images of a step.

        Images of a batch are padded to the largest: with a factor for each, a third of a batch of 8 would be padding.
        """
        return float(draw.uniform(*self.section.scale))

    def draw(
        self, size: tuple[int, int], boxes: NDArray[np.float32], scale: float, draw: np.random.Generator
    ) -> Variation:
        """Draw what is done to an image of this size, height and width in pixels, with boxes (n, 4)."""
        section = self.section
        crop = _part(size, boxes, draw) if draw.random() < section.crop else (0, 0, *size)
        return Variation(
            source=size,
            crop=crop,
            size=(max(1, round(crop[2] * scale)), max(1, round(crop[3] * scale))),
            flip=bool(draw.random() < section.flip),
            brightness=1 + float(draw.uniform(-1, 1)) * section.brightness,
            contrast=1 + float(draw.uniform(-1, 1)) * section.contrast,
            saturation=1 + float(draw.uniform(-1, 1)) * section.saturation,
            hue=float(draw.uniform(-1, 1)) * section.hue,
        )


def _part(size: tuple[int, int], boxes: NDArray[np.float32], draw: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a part of an image, in its proportions, that holds the centre of a box if there is one."""
    share = draw.uniform(_SMALLEST_CROP, 1)
    height, width = (max(1, round(side * share)) for side in size)
    if len(boxes):
        left, top, right, bottom = boxes[draw.integers(len(boxes))]
        x, y = float(left + right) / 2, float(top + bottom) / 2
    else:
        y, x = draw.random(2) * size
    return _start(y, height, size[0], draw), _start(x, width, size[1], draw), height, width


def _start(centre: float, length: int, whole: int, draw: np.random.Generator) -> int:
    """Draw where a part of this length starts that holds ``centre``."""
    first, last = max(0, math.ceil(centre - length)), min(whole - length, math.floor(centre))
    return int(draw.integers(first, last + 1))
