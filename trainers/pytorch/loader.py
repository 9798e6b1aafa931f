"""Batches for a model: images read ahead in threads, in an order and with variations that a resumed run repeats.

Threads, not processes: a container's ``/dev/shm`` is too small for what processes hand each other, and copying,
decoding and torchvision's transforms let go of the interpreter.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainers.dataset.coco import SMALLEST
from trainers.errors import DatapackError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from trainers.dataset.coco import Coco
    from trainers.dataset.pixels import Pixels
    from trainers.pytorch.augment import Augment, Variation

_SHAPES = 2 ** np.linspace(-1, 1, 7)  # width by height: the bounds of groups, those of torchvision's reference
_ORDER, _SCALE, _IMAGE = range(3)  # what random numbers are for: to each its own


@dataclass(frozen=True)
class Batch:
    """A few images and what is to be found on them, on the loader's device."""

    images: list[Tensor]  # each uint8 (3, H, W), RGB, memory channels_last
    targets: list[dict[str, Tensor]]  # boxes float32 (n, 4) x1 y1 x2 y2 in the image's pixels, labels int64 (n,)
    indices: list[int]  # places in the Coco


@dataclass(frozen=True)
class _Step:
    """A batch that is to be: its place among an epoch's, and its images."""

    epoch: int
    number: int
    indices: list[int]


@dataclass(frozen=True)
class _Example:
    """An image that was read."""

    image: Tensor
    boxes: Tensor
    labels: Tensor
    variation: Variation | None  # that is to be done to the image yet


class Loader:
    """The images of a part of the data, in batches of images with similar shapes.

    With ``shuffle``, for training, each epoch has another order, and all processes have as many batches, of as many
    images at each step: where images can't be shared evenly, up to ``world`` - 1 of them come twice. Without, for
    evaluation, each image comes once, and a process may have an image or a batch less than another.

    Args:
        coco: images and boxes. Crowds, and boxes that are at most 1 pixel on a side once scaled, are no targets.
        pixels: what the images look like.
        indices: the images of ``coco`` that are this part.
        batch_size: images in a batch of this process; one batch of an epoch may have less.
        workers: threads that read images; 0: each is read when it is asked for.
        device: where batches are wanted.
        seed: of the order and the variations.
        shuffle: for training.
        rank: of this process.
        world: processes in all.
        augment: what is varied.
    """

    def __init__(
        self,
        coco: Coco,
        pixels: Pixels,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        batch_size: int,
        workers: int,
        device: torch.device | str,
        seed: int = 0,
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
        augment: Augment | None = None,
    ) -> None:
        self._names, self._pixels, self._augment = coco.file_names, pixels, augment
        self._boxes, self._labels, self._offsets = _targets(coco, pixels.sizes)
        self._shapes = np.digitize(pixels.sizes[:, 0] / pixels.sizes[:, 1], _SHAPES)
        self._indices = np.asarray(indices, np.int64)
        self._batch_size, self._workers, self._device = batch_size, workers, torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self._seed, self._shuffle, self._rank, self._world = seed, shuffle, rank, world
        self.batches = len(self._plan(0))  # of this process, in any epoch

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Give the batches of an epoch from the ``start``-th on: the same ones each time.

        Few of them are in memory at once. The threads end with the iteration, also where that is given up.

        Raises:
            DatapackError: an image can't be read; it is named.
        """
        steps = self._plan(epoch)[start:]
        if not self._workers:
            for step in steps:
                yield self._batch(step, (self._example(step, index) for index in step.indices))
            return
        torch.get_num_threads()  # asked once, or a thread that sets its own number sets this one's too
        pool = ThreadPoolExecutor(self._workers, "images", initializer=torch.set_num_threads, initargs=(1,))
        ahead = 1 + -(-self._workers // self._batch_size)  # batches, so that no thread waits for the slowest of one
        begun: deque[tuple[_Step, list[Future[_Example]]]] = deque()
        try:
            for step in steps:
                begun.append((step, [pool.submit(self._example, step, index) for index in step.indices]))
                if len(begun) > ahead:
                    yield self._finish(*begun.popleft())
            while begun:
                yield self._finish(*begun.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _plan(self, epoch: int) -> list[_Step]:
        """Say which images this process has at each step: images of one shape, in all processes."""
        draw = np.random.default_rng([_ORDER, self._seed, epoch])
        order = draw.permutation(self._indices) if self._shuffle else self._indices
        order = order[np.argsort(self._shapes[order], kind="stable")]
        if self._shuffle and (short := -len(order) % self._world):
            order = np.concatenate([order, np.resize(order[-short:], short)])
        length = self._batch_size * self._world
        parts = [order[at : at + length][self._rank :: self._world].tolist() for at in range(0, len(order), length)]
        places = draw.permutation(len(parts)) if self._shuffle else range(len(parts))
        return [_Step(epoch, number, parts[place]) for number, place in enumerate(places) if parts[place]]

    def _example(self, step: _Step, index: int) -> _Example:
        """Read one image; vary it, but not its image where that is wanted on a GPU: that is faster there."""
        try:
            pixels = self._pixels.read(index)
            image = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._on_gpu)
            np.copyto(image.numpy(), pixels)
            variation, boxes, labels = self._vary(step, index)
            image = image.permute(2, 0, 1)
            if variation and self._device.type == "cpu":
                return _Example(variation.image(image), boxes, labels, None)
            return _Example(image, boxes, labels, variation)
        except DatapackError:
            raise  # it names the image
        except Exception as error:
            raise TrainingError("can't read this image", where=self._names[index], found=error) from error

    def _vary(self, step: _Step, index: int) -> tuple[Variation | None, Tensor, Tensor]:
        """Return what is done to the image, and its boxes and labels thereafter."""
        place = slice(self._offsets[index], self._offsets[index + 1])
        boxes, labels = torch.tensor(self._boxes[place]), torch.tensor(self._labels[place])
        if not self._augment:
            return None, boxes, labels
        scale = self._augment.scale(np.random.default_rng([_SCALE, self._seed, step.epoch, step.number]))
        draw = np.random.default_rng([_IMAGE, self._seed, step.epoch, index])
        width, height = map(int, self._pixels.sizes[index])
        variation = self._augment.draw((height, width), self._boxes[place], scale, draw)
        boxes, kept = variation.boxes(boxes)
        return variation, boxes, labels[kept]

    def _finish(self, step: _Step, begun: list[Future[_Example]]) -> Batch:
        return self._batch(step, (future.result() for future in begun))

    def _batch(self, step: _Step, examples: Iterable[_Example]) -> Batch:
        """Bring examples to the device, where images are varied if they are not yet."""
        images, boxes, labels = [], [], []
        for example in examples:
            image = self._move(example.image)
            images.append(example.variation.image(image) if example.variation else image)
            boxes.append(example.boxes)
            labels.append(example.labels)
        counts = [len(some) for some in boxes]
        moved = (torch.split(self._move(torch.cat(parts)), counts) for parts in (boxes, labels))  # one copy for all
        targets = [{"boxes": some, "labels": theirs} for some, theirs in zip(*moved, strict=True)]
        return Batch(images, targets, step.indices)

    def _move(self, tensor: Tensor) -> Tensor:
        """Bring a tensor to the device, without waiting for what a GPU is still busy with."""
        tensor = tensor.pin_memory() if self._on_gpu else tensor  # no copy where it is pinned
        return tensor.to(self._device, non_blocking=True)


def _targets(coco: Coco, sizes: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Scale the boxes to images of these sizes; return those that are targets, their labels, and each image's."""
    owners = coco.owners
    edges = np.tile(sizes, 2)[owners].astype(np.float32)
    boxes = np.minimum(coco.boxes * (edges / np.tile(coco.sizes, 2)[owners].astype(np.float32)), edges)
    wanted = ~coco.crowd & (boxes[:, 2:] - boxes[:, :2] > SMALLEST).all(axis=1)
    offsets = np.concatenate([[0], np.cumsum(wanted)])[coco.offsets]
    return boxes[wanted], coco.labels[wanted], offsets
