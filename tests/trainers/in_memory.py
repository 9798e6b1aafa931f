"""Images in memory, and the COCO file for them."""

import time
from dataclasses import dataclass, field

import numpy as np

from trainers.dataset.coco import Category, Coco


def coco(sizes, boxes=(), crowd=()) -> Coco:
    """Make images of these widths and heights with boxes (image, x1, y1, x2, y2) in order; ``crowd`` are indices."""
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    count = len(sizes)
    return Coco(
        file_names=tuple(f"{number}.png" for number in range(count)),
        urls=("",) * count,
        ids=np.arange(count),
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        offsets=np.searchsorted(rows[:, 0], np.arange(count + 1)),
        bbox=np.concatenate([rows[:, 1:3], rows[:, 3:] - rows[:, 1:3]], axis=1).astype(np.float64),
        labels=np.arange(1, len(rows) + 1),
        areas=(rows[:, 3] - rows[:, 1]) * (rows[:, 4] - rows[:, 2]).astype(np.float64),
        crowd=np.isin(np.arange(len(rows)), crowd),
        categories=tuple(Category(number, str(number)) for number in range(1, len(rows) + 1)),
    )


@dataclass
class Memory:
    """`Pixels` of these sizes; the first byte of each image is its index, and some can't be read."""

    sizes: np.ndarray
    broken: tuple[int, ...] = ()
    slow: float = 0.0  # seconds
    reads: list[int] = field(default_factory=list)

    def read(self, index):
        self.reads.append(index)
        time.sleep(self.slow)
        if index in self.broken:
            raise OSError("the disk is gone")
        width, height = self.sizes[index]
        pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        pixels[0, 0, 0] = index
        pixels.flags.writeable = False  # as in a memory map
        return pixels
