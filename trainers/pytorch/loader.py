"""Batches for a model: threads read images ahead, in an order and with augmentations that a resumed run repeats.

Threads, not processes: a container's ``/dev/shm`` is too small for the images that processes would exchange, and
copying, decoding and torchvision's transforms release the GIL.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from datapack.executor import held, result_of
from trainers.errors import DatapackError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from trainers.dataset.coco import Coco
    from trainers.dataset.pixels import Pixels
    from trainers.pytorch.augment import Augment, Augmentation

_SHAPES = 2 ** np.linspace(-1, 1, 7)  # bounds of width / height that group images, as in torchvision's reference
_ORDER, _SCALE, _IMAGE = range(3)  # each use of random numbers has its own generator


@dataclass(frozen=True)
class Batch:
    """A few images and their targets, on the loader's device."""

    images: list[Tensor]  # each uint8 (3, H, W), RGB, memory channels_last
    targets: list[dict[str, Tensor]]  # boxes float32 (n, 4) x1 y1 x2 y2 in the image's pixels, labels int64 (n,)
    indices: list[int]  # in the Coco


@dataclass(frozen=True)
class _PlannedBatch:
    """A batch that is not read yet: its number in the epoch, and its images."""

    epoch: int
    number: int
    indices: list[int]


@dataclass(frozen=True)
class _Example:
    """An image that has been read."""

    image: Tensor
    boxes: Tensor
    labels: Tensor
    augmentation: Augmentation | None  # to be applied to the image on its device


class Loader:
    """The images of a part of the data, in batches of images with similar shapes.

    With ``shuffle``, for training, each epoch has its own order. All processes have the same number of batches, of the
    same size at each step: if the images can't be divided evenly, up to ``world`` - 1 of them come twice. Without it,
    for evaluation, each image comes once, and a process may have an image or a batch less than another.

    Args:
        coco: images and boxes; `Coco.targets` are the boxes to learn.
        pixels: the decoded images.
        indices: the images of ``coco`` in this part.
        batch_size: images in a batch of this process; one batch of an epoch may have fewer.
        workers: threads that read images; with 0, each image is read when it is needed.
        device: where the batches go.
        seed: of the order and the augmentations.
        shuffle: for training.
        rank: of this process.
        world: number of processes.
        augment: draws the augmentations, if there are any.
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
        self._targets = coco.targets(pixels.sizes)
        self._shapes = np.digitize(pixels.sizes[:, 0] / pixels.sizes[:, 1], _SHAPES)
        self._indices = np.asarray(indices, np.int64)
        self._batch_size, self._workers, self._device = batch_size, workers, torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self._seed, self._shuffle, self._rank, self._world = seed, shuffle, rank, world
        self.batches = len(self._plan(0))  # of this process, in any epoch

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch from number ``start`` on; they are the same every time.

        Few of them are in memory at a time. The threads end with the iteration, even if it is abandoned.

        Raises:
            DatapackError: an image can't be read; the error names it.
        """
        plan = self._plan(epoch)[start:]
        if not self._workers:
            for batch in plan:
                yield self._batch(batch, (self._example(batch, index) for index in batch.indices))
            return
        torch.get_num_threads()  # without this call, a thread that sets its own number also sets this one's
        pool = ThreadPoolExecutor(self._workers, "images", initializer=torch.set_num_threads, initargs=(1,))
        # batches to read ahead, so that no thread waits for the slowest image of a batch
        ahead = 1 + -(-self._workers // self._batch_size)
        started: deque[tuple[_PlannedBatch, list[Future[_Example]]]] = deque()
        try:
            for batch in plan:
                with held():
                    started.append((batch, [pool.submit(self._example, batch, index) for index in batch.indices]))
                if len(started) > ahead:
                    yield self._finish(*started.popleft())
            while started:
                yield self._finish(*started.popleft())
        finally:
            with held():
                pool.shutdown(cancel_futures=True)

    def _plan(self, epoch: int) -> list[_PlannedBatch]:
        """Return the batches of this process. At each step, all processes have images of similar shape."""
        draw = np.random.default_rng([_ORDER, self._seed, epoch])
        order = draw.permutation(self._indices) if self._shuffle else self._indices
        order = order[np.argsort(self._shapes[order], kind="stable")]
        if self._shuffle and (short := -len(order) % self._world):
            order = np.concatenate([order, np.resize(order[-short:], short)])
        length = self._batch_size * self._world
        parts = [order[at : at + length][self._rank :: self._world].tolist() for at in range(0, len(order), length)]
        places = draw.permutation(len(parts)) if self._shuffle else range(len(parts))
        return [_PlannedBatch(epoch, number, parts[place]) for number, place in enumerate(places) if parts[place]]

    def _example(self, batch: _PlannedBatch, index: int) -> _Example:
        """Read and augment one image. If it goes to a GPU, its pixels are augmented there, which is faster."""
        try:
            pixels = self._pixels.read(index)
            image = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._on_gpu)
            np.copyto(image.numpy(), pixels)
            augmentation, boxes, labels = self._augmented_targets(batch, index)
            image = image.permute(2, 0, 1)
            if augmentation and self._device.type == "cpu":
                return _Example(augmentation.image(image), boxes, labels, None)
            return _Example(image, boxes, labels, augmentation)
        except DatapackError:
            raise  # it names the image
        except Exception as error:
            raise TrainingError("can't read this image", where=self._names[index], found=error) from error

    def _augmented_targets(self, batch: _PlannedBatch, index: int) -> tuple[Augmentation | None, Tensor, Tensor]:
        """Draw the augmentation of an image; return it, and the augmented boxes with their labels."""
        place = slice(*self._targets.offsets[index : index + 2])
        found = self._targets.boxes[place]
        boxes, labels = torch.tensor(found), torch.tensor(self._targets.labels[place])
        if not self._augment:
            return None, boxes, labels
        scale = self._augment.scale(np.random.default_rng([_SCALE, self._seed, batch.epoch, batch.number]))
        draw = np.random.default_rng([_IMAGE, self._seed, batch.epoch, index])
        width, height = map(int, self._pixels.sizes[index])
        augmentation = self._augment.draw((height, width), found, scale, draw)
        boxes, kept = augmentation.boxes(boxes)
        return augmentation, boxes, labels[kept]

    def _finish(self, batch: _PlannedBatch, started: list[Future[_Example]]) -> Batch:
        return self._batch(batch, (result_of(future) for future in started))

    def _batch(self, planned: _PlannedBatch, examples: Iterable[_Example]) -> Batch:
        """Move examples to the device, and augment the images there unless that is done."""
        images, boxes, labels = [], [], []
        for example in examples:
            image = self._move(example.image)
            images.append(example.augmentation.image(image) if example.augmentation else image)
            boxes.append(example.boxes)
            labels.append(example.labels)
        counts = [len(some) for some in boxes]
        moved = (torch.split(self._move(torch.cat(parts)), counts) for parts in (boxes, labels))  # one copy for all
        targets = [{"boxes": some, "labels": theirs} for some, theirs in zip(*moved, strict=True)]
        return Batch(images, targets, planned.indices)

    def _move(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device without waiting for the work that a GPU still has to do."""
        tensor = tensor.pin_memory() if self._on_gpu else tensor  # no copy if it is pinned already
        return tensor.to(self._device, non_blocking=True)
