"""Batches for a model: threads read images ahead, in an order and with augmentations that a resumed run repeats.

Threads, not processes: a container's ``/dev/shm`` is too small for the images that processes would exchange, and
copying, decoding and augmenting release the GIL.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from datapack.executor import held, result_of
from trainers.errors import DatapackError, TrainingError
from trainers.training.plan import BatchPlan, PlannedBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from trainers.dataset.coco import Coco
    from trainers.dataset.pixels import Pixels
    from trainers.training.augment import Augment, Augmentation

Example = TypeVar("Example")
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Target:
    """What is to be found in an image after its augmentation."""

    boxes: NDArray[np.float32]  # (n, 4), x1 y1 x2 y2 in the pixels of the augmented image
    labels: NDArray[np.int64]  # (n,), from 1
    augmentation: Augmentation | None  # to be applied to the image; the boxes have it already


class ImageLoader(ABC, Generic[Example, Batch]):
    """The images of a part of the data, in the batches of a `BatchPlan`.

    A framework says what an image becomes in a reading thread, and how a batch is made from such images.

    Args:
        coco: images and boxes; `Coco.targets` are the boxes to learn.
        pixels: the decoded images.
        indices: the images of ``coco`` in this part.
        batch_size: images in a batch of this process; one batch of an epoch may have fewer.
        workers: threads that read images; with 0, each image is read when it is needed.
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
        seed: int = 0,
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
        augment: Augment | None = None,
    ) -> None:
        self._names, self._pixels, self._augment, self._workers = coco.file_names, pixels, augment, workers
        self._targets = coco.targets(pixels.sizes)
        self._plan = BatchPlan(pixels.sizes, np.asarray(indices, np.int64), batch_size, seed, shuffle, rank, world)
        self.batches = len(self._plan.epoch(0))  # of this process, in any epoch

    @abstractmethod
    def example(self, pixels: NDArray[np.uint8], target: Target) -> Example:
        """Make an example of an image (height, width, 3), which may be read-only, in a reading thread."""

    @abstractmethod
    def batch(self, indices: list[int], examples: Iterable[Example]) -> Batch:
        """Make a batch of examples, in the thread of the loop; each may only now be ready."""

    def begin_thread(self) -> None:
        """Prepare a reading thread."""

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch from number ``start`` on; they are the same every time.

        Few of them are in memory at a time. The threads end with the iteration, even if it is abandoned.

        Raises:
            DatapackError: an image can't be read; the error names it.
        """
        plan = self._plan.epoch(epoch)[start:]
        if not self._workers:
            for batch in plan:
                yield self.batch(batch.indices, (self._example(batch, index) for index in batch.indices))
            return
        # batches to read ahead, so that no thread waits for the slowest image of a batch
        ahead = 1 + -(-self._workers // self._plan.batch_size)
        started = _started(plan, self._example, ahead, ThreadPoolExecutor(self._workers, "images", self.begin_thread))
        with contextlib.closing(started):
            for batch, examples in started:
                yield self.batch(batch.indices, (result_of(future) for future in examples))

    def _example(self, batch: PlannedBatch, index: int) -> Example:
        try:
            return self.example(self._pixels.read(index), self._target(batch, index))
        except DatapackError:
            raise  # it names the image
        except Exception as error:
            raise TrainingError("can't read this image", where=self._names[index], found=error) from error

    def _target(self, batch: PlannedBatch, index: int) -> Target:
        """Draw the augmentation of an image, and apply it to the boxes."""
        place = slice(*self._targets.offsets[index : index + 2])
        boxes, labels = self._targets.boxes[place], self._targets.labels[place]
        if not self._augment:
            return Target(boxes, labels, None)
        scale = self._augment.scale(self._plan.draws_of_batch(batch))
        width, height = map(int, self._pixels.sizes[index])
        draw = self._plan.draws_of_image(batch, index)
        augmentation = self._augment.draw((height, width), boxes, scale, draw)
        boxes, kept = augmentation.boxes(boxes)
        return Target(boxes, labels[kept], augmentation)


def _started(
    plan: Iterable[PlannedBatch],
    read: Callable[[PlannedBatch, int], Example],
    ahead: int,
    pool: ThreadPoolExecutor,
) -> Generator[tuple[PlannedBatch, list[Future[Example]]], None, None]:
    """Yield each batch with its examples, which threads read while ``ahead`` earlier batches are used."""
    started: deque[tuple[PlannedBatch, list[Future[Example]]]] = deque()
    try:
        for batch in plan:
            with held():
                started.append((batch, [pool.submit(read, batch, index) for index in batch.indices]))
            if len(started) > ahead:
                yield started.popleft()
        while started:
            yield started.popleft()
    finally:
        with held():
            pool.shutdown(cancel_futures=True)
