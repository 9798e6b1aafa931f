"""Split images into training and validation: by sequence, stratified by category, seeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.dataset.coco import Coco

_TRIES = 64  # orders of the sequences to try
_STEPS = 320_000  # of all tries together, a few seconds: many sequences come close to the goal in any order
_ABSENT = 1.0  # cost of a category that is missing on one side, relative to a share that is off by 1


@dataclass(frozen=True)
class Split:
    """The indices of the images of each part, ascending."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    sequences: int  # number of groups that were kept together


def sequences_of(coco: Coco) -> NDArray[np.int64]:
    """Return the sequence number of each image: frames of one dive have URLs in the same folder.

    An image without a URL is its own sequence. If all URLs are in one folder, they say nothing about sequences, and
    each image is its own sequence.
    """
    folders = [url.rpartition("/")[0] or f"\0{index}" for index, url in enumerate(coco.urls)]
    if len(set(folders)) <= 1:
        return np.arange(len(coco))
    return np.unique(folders, return_inverse=True)[1].astype(np.int64)


def split(coco: Coco, share: float, seed: int, *, by_sequence: bool = True) -> Split:
    """Choose about ``share`` of the images for validation, in whole sequences.

    The goal is that each category, and the images without boxes, have the same share in validation, and that a category
    in more than one sequence is on both sides. The sequences are assigned one by one, each to the side that lacks more
    of what it contains. Several seeded orders are tried, and the split closest to the goal is used.

    Raises:
        TrainingError: there are no boxes, or one side would be empty.
    """
    groups = sequences_of(coco) if by_sequence else np.arange(len(coco))
    count = int(groups.max()) + 1 if len(coco) else 0
    boxes = int(coco.targets().counts.sum())
    if not boxes or count < 2:  # noqa: PLR2004 - one for each side
        raise TrainingError(
            "can't split this into training and validation",
            expected="boxes to learn, and at least two sequences of images",
            found=f"{len(coco):,} images, {boxes:,} boxes to learn, {count:,} sequences",
        )
    amounts = _amounts(coco, groups, count)
    generator = np.random.default_rng(seed)
    number = max(1, min(_TRIES, _STEPS // count))
    tries = (_deal(amounts, share, generator.permutation(count)) for _ in range(number))
    chosen = min(tries, key=lambda validation: _cost(amounts, validation, share))
    in_validation = chosen[groups]
    return Split(np.flatnonzero(~in_validation), np.flatnonzero(in_validation), count)


def _amounts(coco: Coco, groups: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Count for each sequence: the boxes of each category, the images without boxes, all images."""
    categories = len(coco.categories)
    amounts, targets = np.zeros((count, categories + 2)), coco.targets()
    np.add.at(amounts, (groups[targets.owners], targets.labels - 1), 1)
    np.add.at(amounts[:, categories], groups[targets.counts == 0], 1)
    np.add.at(amounts[:, categories + 1], groups, 1)
    return amounts[:, amounts.sum(axis=0) > 0]


def _deal(amounts: NDArray[np.float64], share: float, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Assign the sequences in this order; return which of them go to validation."""
    scale = 1 / amounts.sum(axis=0)
    lead = np.zeros(amounts.shape[1])  # how far validation exceeds its share of what is assigned
    validation = np.zeros(len(amounts), np.bool_)
    for group in order:
        taken, left = lead + (1 - share) * amounts[group] * scale, lead - share * amounts[group] * scale
        validation[group] = (taken**2).sum() < (left**2).sum()
        lead = taken if validation[group] else left
    if validation.all() or not validation.any():
        validation[order[-1]] = not validation[order[-1]]
    return validation


def _cost(amounts: NDArray[np.float64], validation: NDArray[np.bool_], share: float) -> float:
    """Return how far a split is from the goal: 0 is perfect."""
    found = amounts[validation].sum(axis=0) / amounts.sum(axis=0)
    divisible = (amounts > 0).sum(axis=0) > 1
    absent = divisible & ((found == 0) | (found == 1))
    return float(np.abs(found - share).mean() + _ABSENT * absent.sum())
