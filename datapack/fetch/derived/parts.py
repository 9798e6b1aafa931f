"""Divide groups of images into parts, such as train, val and test, so that each has its share of every category.

Each group goes to the part that lacks most of what it has: images, and boxes of each category, as shares of all there
are. Large groups go first, so that small ones even out what is left. That is iterative stratification (Sechidis,
Tsoumakas and Vlahavas, 2011) for groups instead of single images. Chance, which the seed decides, only breaks ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datapack.fetch.derived.order import chance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Counts(NamedTuple):
    """What each of G groups has, row by row: first its images, then its boxes of each category."""

    starts: NDArray[np.int64]  # (G + 1) where the group's numbers begin in the other two
    columns: NDArray[np.int64]  # 0 for images, then a category each
    amounts: NDArray[np.int64]
    width: int  # the number of columns

    @classmethod
    def of(cls, groups: NDArray[np.int64], box_groups: NDArray[np.int64], labels: NDArray[np.int64]) -> Counts:
        """Count images and boxes.

        Args:
            groups: the group of each image, from 0 on; none is without an image.
            box_groups: the group of each box.
            labels: the category of each box, from 0 on.
        """
        width = int(labels.max(initial=-1)) + 2
        cells = np.concatenate([groups * width, box_groups * width + labels + 1])
        found, amounts = np.unique(cells, return_counts=True)
        starts = np.searchsorted(found, np.arange(int(groups.max()) + 2) * width)
        return cls(starts, found % width, amounts.astype(np.int64), width)

    @property
    def totals(self) -> NDArray[np.float64]:
        """The sum of each column."""
        return np.bincount(self.columns, self.amounts, self.width).astype(np.float64)


def divide(counts: Counts, names: Sequence[str], ratios: Mapping[str, float], seed: int) -> NDArray[np.int64]:
    """Return the part of each group, as a place in ``ratios``. No part is empty if there are enough groups.

    Args:
        counts: what each group has.
        names: a name of each group, for chance.
        ratios: the share of each part; they add up to 1.
        seed: another seed breaks ties in another way.
    """
    totals = counts.totals
    weights = 1 / np.maximum(totals, 1) ** 2
    weights[0] *= max(1, counts.width - 1)  # images count as much as all categories together
    lacks = np.outer(list(ratios.values()), totals)
    images = counts.amounts[counts.starts[:-1]]
    place = {name: number for number, name in enumerate(chance(names, seed))}
    order = sorted(range(len(names)), key=lambda group: (-images[group], place[names[group]]))
    parts = np.full(len(names), -1, np.int64)
    empty = set(range(len(ratios)))
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        cells = slice(counts.starts[group], counts.starts[group + 1])
        columns, amounts = counts.columns[cells], counts.amounts[cells]
        needs = lacks[:, columns] @ (weights[columns] * amounts)
        candidates = sorted(empty) if left <= len(empty) else range(len(ratios))
        part = max(candidates, key=needs.__getitem__)
        parts[group] = part
        lacks[part, columns] -= amounts
        empty.discard(part)
    return parts
