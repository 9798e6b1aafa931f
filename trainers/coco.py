"""A COCO file as arrays: which pictures there are, and the boxes on them, as training and evaluation need them.

Read as it is in the wild (FACTS of the field): category ids as floats, annotation ids from 0 or twice, no ``info`` or
``licenses``, boxes over the edge, the same box twice, pictures without boxes, categories without boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Category:
    """A kind of thing, by its id in the COCO file. Its label in a model is its place in `Coco.categories`, from 1."""

    id: int
    name: str


@dataclass(frozen=True)
class Coco:
    """N pictures with M boxes. The boxes of picture i are those from ``offsets[i]`` to ``offsets[i + 1]``."""

    file_names: tuple[str, ...]  # N, below the folder of the pictures
    urls: tuple[str, ...]  # N, "" where there is none
    ids: NDArray[np.int64]  # N, as in the file
    sizes: NDArray[np.int32]  # (N, 2) width and height, pixels
    offsets: NDArray[np.int64]  # N + 1
    boxes: NDArray[np.float32]  # (M, 4) x1, y1, x2, y2, pixels, inside the picture
    labels: NDArray[np.int64]  # M, from 1: 0 is the background
    areas: NDArray[np.float32]  # M, pixels, as in the file
    crowd: NDArray[np.bool_]  # M
    categories: tuple[Category, ...]

    def __len__(self) -> int:
        return len(self.file_names)
