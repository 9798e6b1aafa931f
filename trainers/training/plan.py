"""The order of the images: which ones are in which batch of an epoch, the same in every run with the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHAPES = 2 ** np.linspace(-1, 1, 7)  # bounds of width / height that group images, as in torchvision's reference
_ORDER, _SCALE, _IMAGE = range(3)  # each use of random numbers has its own generator


@dataclass(frozen=True)
class PlannedBatch:
    """A batch that is not read yet: its number in the epoch, and its images."""

    epoch: int
    number: int
    indices: list[int]  # in the Coco


@dataclass(frozen=True)
class BatchPlan:
    """The batches of one process, each of images with similar shapes.

    With ``shuffle``, for training, each epoch has its own order. All processes have the same number of batches, of the
    same size at each step: if the images can't be divided evenly, up to ``world`` - 1 of them come twice. Without it,
    for evaluation, each image comes once, and a process may have an image or a batch less than another.
    """

    sizes: NDArray[np.int32]  # (N, 2) width and height of all images of the Coco, pixels
    indices: NDArray[np.int64]  # the images of this part of the data
    batch_size: int  # images in a batch of this process; one batch of an epoch may have fewer
    seed: int
    shuffle: bool
    rank: int
    world: int

    def epoch(self, epoch: int) -> list[PlannedBatch]:
        """Return the batches of this process. At each step, all processes have images of similar shape."""
        draw = np.random.default_rng([_ORDER, self.seed, epoch])
        order = draw.permutation(self.indices) if self.shuffle else self.indices
        order = order[np.argsort(self._shapes[order], kind="stable")]
        if self.shuffle and (short := -len(order) % self.world):
            order = np.concatenate([order, np.resize(order[-short:], short)])
        length = self.batch_size * self.world
        parts = [order[at : at + length][self.rank :: self.world].tolist() for at in range(0, len(order), length)]
        places = draw.permutation(len(parts)) if self.shuffle else range(len(parts))
        return [PlannedBatch(epoch, number, parts[place]) for number, place in enumerate(places) if parts[place]]

    def draws_of_batch(self, batch: PlannedBatch) -> np.random.Generator:
        """Return the random numbers for what all images of a batch share, in all processes."""
        return np.random.default_rng([_SCALE, self.seed, batch.epoch, batch.number])

    def draws_of_image(self, batch: PlannedBatch, index: int) -> np.random.Generator:
        """Return the random numbers for one image."""
        return np.random.default_rng([_IMAGE, self.seed, batch.epoch, index])

    @cached_property
    def _shapes(self) -> NDArray[np.int64]:
        return np.digitize(self.sizes[:, 0] / self.sizes[:, 1], _SHAPES)


def steps_of_epoch(batches: int, accumulate: int) -> int:
    """Return the number of steps of an epoch; the last one may have fewer batches than ``accumulate``."""
    return -(-batches // accumulate)


def seed_of(*numbers: int) -> int:
    """Mix some numbers into a seed of 63 bits: other numbers, another seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
