"""Turn a batch of uint8 images into one float32 tensor, normalised and padded: the input of the backbone."""

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

_BAND = 2**15 - 1  # numbers processed at a time: they fit a core's cache, and torch starts no threads for them


class NormalizeAndPad(nn.Module):
    """The ``transform`` of a torchvision detector for images of the right size: it normalises and pads, never resizes.

    It replaces `GeneralizedRCNNTransform`. Boxes in and out are in the pixels of the image.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD, size_divisible: int = 32) -> None:
        super().__init__()
        self.size_divisible = size_divisible
        # not in the state_dict, as in torchvision, so that its weights fit
        self.register_buffer("scale", 1 / (255 * torch.tensor(std)), persistent=False)
        self.register_buffer("bias", -torch.tensor(mean) / torch.tensor(std), persistent=False)
        self._memory = torch.empty(0)

    @torch.no_grad()
    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Turn uint8 images (3, h, w) into float32 (N, 3, H, W): (x / 255 - mean) / std, zeros to the right and below.

        H and W are the largest h and w, rounded up to a multiple of ``size_divisible``. In training, a batch of one
        image gets at least two such squares: a backbone makes one pixel of each, and a batch norm needs two. The memory
        format is channels_last; images in that format are the fastest. On a CPU the next call reuses the memory of the
        result.
        """
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (self._padded(max(side)) for side in zip(*sizes, strict=True))
        if self.training and len(images) == 1 and height == width == self.size_divisible:
            width *= 2
        with torch.inference_mode(mode=False):  # or the memory could not be used in training afterwards
            batch = self._empty((len(images), height, width * 3), images[0].device)
            for image, rows in zip(images, batch, strict=True):
                self._fill(rows, image.permute(1, 2, 0).flatten(1))
        return ImageList(batch.view(len(images), height, width, 3).permute(0, 3, 1, 2), sizes), targets

    def postprocess(
        self, result: list[dict[str, Tensor]], _sizes: list[tuple[int, int]], _original: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Return the detections unchanged: nothing was resized."""
        return result

    def _padded(self, length: int) -> int:
        return -(-length // self.size_divisible) * self.size_divisible

    def _empty(self, shape: tuple[int, int, int], device: torch.device) -> Tensor:
        """Return memory for a batch; on a CPU always the same, since allocating it takes longer than filling it."""
        if device.type != "cpu":
            return torch.empty(shape, device=device)
        count = math.prod(shape)
        if self._memory.numel() < count:
            self._memory = torch.empty(count)
        return self._memory[:count].view(shape)

    def _fill(self, out: Tensor, image: Tensor) -> None:
        """Write an image, (h, w * 3), normalised into the upper left of ``out``, (H, W * 3), and zeros around it."""
        height, length = image.shape
        scale, bias = self.scale.repeat(length // 3), self.bias.repeat(length // 3)
        for some, band in zip(_bands(image), _bands(out[:height, :length]), strict=True):
            torch.addcmul(bias, band.copy_(some), scale, out=band)
        for margin in (out[:height, length:], out[height:]):
            for band in _bands(margin):
                band.zero_()


def _bands(rows: Tensor) -> tuple[Tensor, ...]:
    """On a CPU, split (h, n) into bands of a few rows.

    torch would share larger tensors out to the model's threads, all of which wait for the slowest one: on a busy
    machine that takes longer than the work itself.
    """
    if rows.device.type != "cpu" or not rows.numel():
        return (rows,)
    return torch.split(rows, max(1, _BAND // rows.shape[1]))
