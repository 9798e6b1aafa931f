"""Apply an augmentation to images, with torchvision's transforms v2, on the device that they are on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torchvision.transforms.v2 import functional as F  # noqa: N812 - its name in torchvision's own documentation

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.training.augment import Augmentation


def augmented(image: Tensor, augmentation: Augmentation) -> Tensor:
    """Apply an augmentation to a uint8 image (3, H, W) in channels_last memory; return a new one."""
    if augmentation.crops:
        image = F.crop(image, *augmentation.crop)
    if augmentation.resizes:
        image = F.resize(image, list(augmentation.size), antialias=True)
    if augmentation.flip:
        image = F.horizontal_flip(image)
    if augmentation.recolours:
        image = _recoloured(image, augmentation)
    # a crop, and the result of some operations above, is not contiguous or has another memory format
    return image.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _recoloured(image: Tensor, augmentation: Augmentation) -> Any:
    """Change the colours, in float32: on a CPU that takes half as long as rounding after each step."""
    colours = F.to_dtype(image, torch.float32, scale=True)
    if augmentation.brightness != 1:
        colours = F.adjust_brightness(colours, augmentation.brightness)
    if augmentation.contrast != 1:
        colours = F.adjust_contrast(colours, augmentation.contrast)
    if augmentation.saturation != 1:
        colours = F.adjust_saturation(colours, augmentation.saturation)
    if augmentation.hue:
        colours = F.adjust_hue(colours, augmentation.hue)
    return F.to_dtype(colours, torch.uint8, scale=True)
