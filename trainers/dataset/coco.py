"""A COCO file as arrays: its images, their boxes as the file has them, and the boxes that a model learns from.

An evaluation uses the file's own boxes, so its figures are those that pycocotools gives for the same file. A training
uses `Coco.targets`: boxes that are clipped to their image, without crowds, duplicates and boxes that show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALLEST = 1  # pixels: a box needs longer sides than this to show something


@dataclass(frozen=True)
class Category:
    """A category by its id in the COCO file. Its label in a model is its position in `Coco.categories`, from 1."""

    id: int
    name: str


@dataclass(frozen=True)
class Targets:
    """The boxes to learn in N images. The boxes of image i are ``offsets[i]`` to ``offsets[i + 1]``."""

    offsets: NDArray[np.int64]  # N + 1
    boxes: NDArray[np.float32]  # (K, 4) x1, y1, x2, y2, pixels, inside the image
    labels: NDArray[np.int64]  # K, from 1: 0 is the background

    @property
    def owners(self) -> NDArray[np.int64]:
        """The image of each box: K indices."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of boxes in each image."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Coco:
    """N images with M boxes. The boxes of image i are ``offsets[i]`` to ``offsets[i + 1]``, in the file's order."""

    file_names: tuple[str, ...]  # N, as in the file
    urls: tuple[str, ...]  # N, "" if there is none
    ids: NDArray[np.int64]  # N, as in the file
    sizes: NDArray[np.int32]  # (N, 2) width and height, pixels
    offsets: NDArray[np.int64]  # N + 1
    bbox: NDArray[np.float64]  # (M, 4) x, y, width, height, pixels, as in the file
    labels: NDArray[np.int64]  # M, from 1: 0 is the background
    areas: NDArray[np.float64]  # M, pixels, as in the file
    crowd: NDArray[np.bool_]  # M
    categories: tuple[Category, ...]

    def __len__(self) -> int:
        return len(self.file_names)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The image of each box: M indices."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of boxes to find in each image: all but crowds."""
        return np.bincount(self.owners[~self.crowd], minlength=len(self))

    def keep(self, images: NDArray[np.int64]) -> Coco:
        """Return the images with these indices and their boxes; the categories stay."""
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in images]
        boxes = np.concatenate([np.empty(0, np.int64), *spans])
        return replace(
            self,
            file_names=tuple(self.file_names[i] for i in images),
            urls=tuple(self.urls[i] for i in images),
            ids=self.ids[images],
            sizes=self.sizes[images],
            offsets=np.concatenate([[0], np.cumsum(np.diff(self.offsets)[images])]).astype(np.int64),
            bbox=self.bbox[boxes],
            labels=self.labels[boxes],
            areas=self.areas[boxes],
            crowd=self.crowd[boxes],
        )

    def targets(self, sizes: NDArray[np.int32] | None = None) -> Targets:
        """Return the boxes to learn if the images have these ``sizes``, (N, 2), by default those of the file.

        Crowds and duplicates are left out, and boxes with a side of at most `SMALLEST` pixels, in the file or scaled.
        """
        sizes = self.sizes if sizes is None else sizes
        edges = np.tile(sizes, 2)[self.owners].astype(np.float32)
        scale = edges / np.tile(self.sizes, 2)[self.owners].astype(np.float32)
        boxes = np.minimum(self.clipped.astype(np.float32) * scale, edges)
        wanted = ~self.crowd & ~self.duplicates & large_enough(self.clipped) & large_enough(boxes)
        return Targets(np.concatenate([[0], np.cumsum(wanted)])[self.offsets], boxes[wanted], self.labels[wanted])

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """The boxes as x1, y1, x2, y2."""
        return np.concatenate([self.bbox[:, :2], self.bbox[:, :2] + self.bbox[:, 2:]], axis=1)

    @cached_property
    def clipped(self) -> NDArray[np.float64]:
        """`corners` inside the image."""
        return np.clip(self.corners, 0, np.tile(self.sizes[self.owners], 2).astype(np.float64))

    @cached_property
    def duplicates(self) -> NDArray[np.bool_]:
        """Whether an earlier box, crowds aside, is equal: of the same image, with the same label at the same place."""
        boxes = np.flatnonzero(~self.crowd)
        rows = np.column_stack([self.owners, self.labels, self.bbox])[boxes]
        found = np.zeros(len(self.bbox), np.bool_)
        found[boxes] = True
        found[boxes[np.unique(rows, axis=0, return_index=True)[1]]] = False
        return found


def large_enough(boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether both sides of each box, x1, y1, x2, y2, are longer than `SMALLEST`."""
    large: NDArray[np.bool_] = np.all(boxes[:, 2:] - boxes[:, :2] > SMALLEST, axis=1)
    return large
