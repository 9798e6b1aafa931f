"""Images of squares, to be found by a small detector in seconds."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from trainers.dataset.coco import Category, Coco

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 64  # pixels
DIGEST = "sha256:" + "1" * 64


def squares(count: int) -> tuple[Coco, Squares]:
    """Draw images of noise, each with a red or a green square."""
    draw = np.random.default_rng(0)
    corners = draw.integers(4, 24, (count, 2))
    sides = draw.integers(20, 32, count)
    images = draw.integers(0, 80, (count, SIDE, SIDE, 3), np.uint8)
    for place, ((x, y), side) in enumerate(zip(corners, sides, strict=True)):
        images[place, y : y + side, x : x + side, place % 2] = 220
    coco = Coco(
        file_names=tuple(f"square-{place}.png" for place in range(count)),
        urls=("",) * count,
        ids=np.arange(count),
        sizes=np.full((count, 2), SIDE, np.int32),
        offsets=np.arange(count + 1),
        bbox=np.column_stack([corners, sides, sides]).astype(np.float64),
        labels=np.arange(count) % 2 + 1,
        areas=(sides**2).astype(np.float64),
        crowd=np.zeros(count, bool),
        categories=(Category(3, "red"), Category(8, "green")),
    )
    return coco, Squares(images)


def square_files(count: int) -> dict[str, bytes]:
    """Return the same images as the payload of a dataset."""
    coco, pixels = squares(count)
    files = {}
    for name, image in zip(coco.file_names, pixels.images, strict=True):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "png")
        files[f"images/{name}"] = content.getvalue()
    annotations = [
        {"id": at, "image_id": at, "category_id": label, "bbox": box}
        for at, (label, box) in enumerate(zip(coco.labels.tolist(), coco.bbox.astype(int).tolist(), strict=True))
    ]
    document = {
        "images": [
            {"id": at, "file_name": name, "width": SIDE, "height": SIDE} for at, name in enumerate(coco.file_names)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}],
    }
    return files | {"train.json": json.dumps(document).encode()}


class Squares:
    """Images in memory."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images
        self.sizes = np.full((len(images), 2), SIDE, np.int32)

    def read(self, index: int) -> NDArray[np.uint8]:
        return self.images[index]
