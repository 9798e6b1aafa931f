"""Batches for TensorFlow: images augmented in the reading threads and padded to one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance

from trainers.training.loader import ImageLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from trainers.dataset.coco import Coco
    from trainers.dataset.pixels import Pixels
    from trainers.training.augment import Augment, Augmentation
    from trainers.training.loader import Target

_DIVISOR = 32  # of a batch's sides: the feature pyramid halves them five times


@dataclass(frozen=True)
class Example:
    """An image that has been read and augmented."""

    image: NDArray[np.uint8]  # (height, width, 3)
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The images of a batch that one copy of the model gets, padded to one size."""

    indices: list[int]  # in the Coco
    images: NDArray[np.uint8]  # (N, H, W, 3) with images in the upper left corner and zeros around them
    sizes: NDArray[np.int32]  # (N, 2) height and width of each image
    boxes: NDArray[np.float32]  # (N, M, 4) x1 y1 x2 y2 in pixels; of each image only the first are boxes
    labels: NDArray[np.int32]  # (N, M)
    counts: NDArray[np.int32]  # (N,) how many of them


@dataclass(frozen=True)
class Batch:
    """The images of one step of all copies of the model."""

    indices: list[int]  # in the Coco
    parts: tuple[Part, ...]  # one for each copy


class Loader(ImageLoader[Example, Batch]):
    """The images of a part of the data, each batch divided among the copies of the model.

    Args:
        replicas: the copies of the model.
        batch_size: images in a batch of one copy.
        others: as for `ImageLoader`.
    """

    def __init__(
        self,
        coco: Coco,
        pixels: Pixels,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        replicas: int,
        batch_size: int,
        workers: int,
        seed: int = 0,
        shuffle: bool,
        augment: Augment | None = None,
    ) -> None:
        size = batch_size * replicas
        super().__init__(
            coco, pixels, indices, batch_size=size, workers=workers, seed=seed, shuffle=shuffle, augment=augment
        )
        self._replicas = replicas

    def example(self, pixels: NDArray[np.uint8], target: Target) -> Example:
        """Augment an image."""
        # a copy in any case: this thread is to read from the disk
        image = augmented(pixels, target.augmentation) if target.augmentation else np.array(pixels)
        return Example(image, target.boxes, target.labels)

    def batch(self, indices: list[int], examples: Iterable[Example]) -> Batch:
        """Divide a batch among the copies of the model. If it has too few images, some copies get one that others have.

        A part without an image would give losses that are not finite.
        """
        pairs = list(zip(indices, examples, strict=True))
        shared = [pairs[at % len(pairs)] for at in range(max(len(pairs), self._replicas))]
        return Batch(indices, tuple(_part(shared[rank :: self._replicas]) for rank in range(self._replicas)))


def _part(pairs: Sequence[tuple[int, Example]]) -> Part:
    examples = [example for _, example in pairs]
    sizes = np.array([example.image.shape[:2] for example in examples], np.int32)
    counts = np.array([len(example.boxes) for example in examples], np.int32)
    height, width = -(-sizes.max(axis=0) // _DIVISOR) * _DIVISOR
    count, most = len(examples), max(1, counts.max())
    part = Part(
        indices=[index for index, _ in pairs],
        images=np.zeros((count, height, width, 3), np.uint8),
        sizes=sizes,
        boxes=np.zeros((count, most, 4), np.float32),
        labels=np.zeros((count, most), np.int32),
        counts=counts,
    )
    for place, example in enumerate(examples):
        own_height, own_width = example.image.shape[:2]
        part.images[place, :own_height, :own_width] = example.image
        part.boxes[place, : len(example.boxes)] = example.boxes
        part.labels[place, : len(example.labels)] = example.labels
    return part


def augmented(image: NDArray[np.uint8], augmentation: Augmentation) -> NDArray[np.uint8]:
    """Apply an augmentation to an image (height, width, 3); return a new one."""
    picture = Image.fromarray(image)
    if augmentation.crops:
        top, left, height, width = augmentation.crop
        picture = picture.crop((left, top, left + width, top + height))
    if augmentation.resizes:
        height, width = augmentation.size
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    if augmentation.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changed = np.array(_recoloured(picture, augmentation))
    return _hue_turned(changed, augmentation.hue) if augmentation.hue else changed


def _recoloured(picture: Image.Image, augmentation: Augmentation) -> Image.Image:
    """Change the colours, in the order of PyTorch's; Pillow rounds after each change."""
    changes = (
        (ImageEnhance.Brightness, augmentation.brightness),
        (ImageEnhance.Contrast, augmentation.contrast),
        (ImageEnhance.Color, augmentation.saturation),
    )
    for change, factor in changes:
        if factor != 1:
            picture = change(picture).enhance(factor)
    return picture


def _hue_turned(image: NDArray[np.uint8], turns: float) -> NDArray[np.uint8]:
    with tf.device("CPU"):  # the reading threads leave a GPU to the model
        turned: NDArray[np.uint8] = tf.image.adjust_hue(image, turns).numpy()
    return turned
