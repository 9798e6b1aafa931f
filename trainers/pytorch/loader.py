"""Batches on a device: images are pinned and augmented where that is fastest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.pytorch.augment import augmented
from trainers.training.loader import ImageLoader, Target

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from trainers.dataset.coco import Coco
    from trainers.dataset.pixels import Pixels
    from trainers.training.augment import Augmentation


@dataclass(frozen=True)
class Batch:
    """A few images and their targets, on the loader's device."""

    images: list[Tensor]  # each uint8 (3, H, W), RGB, memory channels_last
    targets: list[dict[str, Tensor]]  # boxes float32 (n, 4) x1 y1 x2 y2 in the image's pixels, labels int64 (n,)
    indices: list[int]  # in the Coco


@dataclass(frozen=True)
class _Example:
    """An image that has been read."""

    image: Tensor
    boxes: Tensor
    labels: Tensor
    augmentation: Augmentation | None  # to be applied to the image on its device


class Loader(ImageLoader[_Example, Batch]):
    """The images of a part of the data, on a device.

    Args:
        coco: as in `ImageLoader`, like all the others.
        pixels: the decoded images.
        indices: the images of this part.
        device: where the batches go.
        options: the other arguments of `ImageLoader`.
    """

    def __init__(
        self,
        coco: Coco,
        pixels: Pixels,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        device: torch.device | str,
        **options: Any,
    ) -> None:
        super().__init__(coco, pixels, indices, **options)
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        torch.get_num_threads()  # without this call, a thread that sets its own number also sets this one's
        return super().epoch(epoch, start)

    def begin_thread(self) -> None:
        torch.set_num_threads(1)

    def example(self, pixels: NDArray[np.uint8], target: Target) -> _Example:
        """Copy an image. If it goes to a GPU, its pixels are augmented there, which is faster."""
        copy = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._on_gpu)
        np.copyto(copy.numpy(), pixels)
        image, augmentation = copy.permute(2, 0, 1), target.augmentation
        if augmentation and self._device.type == "cpu":
            image, augmentation = augmented(image, augmentation), None
        return _Example(image, torch.tensor(target.boxes), torch.tensor(target.labels), augmentation)

    def batch(self, indices: list[int], examples: Iterable[_Example]) -> Batch:
        """Move examples to the device, and augment the images there unless that is done."""
        images, boxes, labels = [], [], []
        for example in examples:
            image = self._move(example.image)
            images.append(augmented(image, example.augmentation) if example.augmentation else image)
            boxes.append(example.boxes)
            labels.append(example.labels)
        counts = [len(some) for some in boxes]
        moved = (torch.split(self._move(torch.cat(parts)), counts) for parts in (boxes, labels))  # one copy for all
        targets = [{"boxes": some, "labels": theirs} for some, theirs in zip(*moved, strict=True)]
        return Batch(images, targets, indices)

    def _move(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device without waiting for the work that a GPU still has to do."""
        tensor = tensor.pin_memory() if self._on_gpu else tensor  # no copy if it is pinned already
        return tensor.to(self._device, non_blocking=True)
