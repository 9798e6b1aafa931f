"""From a batch of uint8 images to what enters the backbone: one float32 tensor, normalised and padded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

if TYPE_CHECKING:
    from collections.abc import Sequence

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, as torchvision's backbones were trained with
STD = (0.229, 0.224, 0.225)

_BAND = 2**15 - 1  # numbers worked on at once: they stay in a core's cache, and torch starts no threads for them


class Prepare(nn.Module):
    """The ``transform`` of a torchvision detector whose images have their size already: normalise, pad, never resize.

    It takes the place of `GeneralizedRCNNTransform`. Boxes in and out are in the image's own pixels.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD, size_divisible: int = 32) -> None:
        super().__init__()
        self.size_divisible = size_divisible
        # not in the state_dict, as in torchvision's: its weights fit
        self.register_buffer("scale", 1 / (255 * torch.tensor(std)), persistent=False)
        self.register_buffer("bias", -torch.tensor(mean) / torch.tensor(std), persistent=False)
        self._memory = torch.empty(0)

    @torch.no_grad()
    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Make float32 (N, 3, H, W) of uint8 (3, h, w): (x / 255 - mean) / std, zeros to the right and below.

        H and W are the largest h and w, up to a multiple of ``size_divisible``; memory is channels_last, and the
        fastest for images that are so too. On a CPU the result is valid until the next call, which takes its memory.
        """
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (self._padded(max(side)) for side in zip(*sizes, strict=True))
        with torch.inference_mode(mode=False):  # else the memory could not serve in training afterwards
            batch = self._empty((len(images), height, width * 3), images[0].device)
            for image, rows in zip(images, batch, strict=True):
                self._fill(rows, image.permute(1, 2, 0).flatten(1))
        return ImageList(batch.view(len(images), height, width, 3).permute(0, 3, 1, 2), sizes), targets

    def postprocess(
        self, result: list[dict[str, Tensor]], _sizes: list[tuple[int, int]], _original: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Return the detections as they are: nothing was resized."""
        return result

    def _padded(self, length: int) -> int:
        return -(-length // self.size_divisible) * self.size_divisible

    def _empty(self, shape: tuple[int, int, int], device: torch.device) -> Tensor:
        """Return memory for a batch: on a CPU the same each time, since getting it new takes longer than filling it."""
        if device.type != "cpu":
            return torch.empty(shape, device=device)
        count = math.prod(shape)
        if self._memory.numel() < count:
            self._memory = torch.empty(count)
        return self._memory[:count].view(shape)

    def _fill(self, out: Tensor, image: Tensor) -> None:
        """Write one image, (h, w * 3), normalised into the upper left of ``out``, (H, W * 3), and zeros around it."""
        height, length = image.shape
        scale, bias = self.scale.repeat(length // 3), self.bias.repeat(length // 3)
        for some, band in zip(_bands(image), _bands(out[:height, :length]), strict=True):
            torch.addcmul(bias, band.copy_(some), scale, out=band)
        for margin in (out[:height, length:], out[height:]):
            for band in _bands(margin):
                band.zero_()


def _bands(rows: Tensor) -> tuple[Tensor, ...]:
    """Split (h, n) into a few rows at a time on a CPU.

    The model's threads, which torch would share larger ones out to, wait for the slowest: on a busy machine that takes
    longer than the work.
    """
    if rows.device.type != "cpu" or not rows.numel():
        return (rows,)
    return torch.split(rows, max(1, _BAND // rows.shape[1]))
