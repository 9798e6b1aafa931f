"""Batches for TensorFlow: images augmented in the reading threads and padded to one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image

from trainers.training.loader import ImageLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from trainers.dataset.coco import Coco
    from trainers.dataset.pixels import Pixels
    from trainers.training.augment import Augment, Augmentation
    from trainers.training.loader import Target

_DIVISOR = 32  # of a batch's sides: the feature pyramid halves them five times
_GREY = np.array((0.2989, 0.587, 0.114), np.float32)  # of red, green and blue, as in torchvision

_BINS = 255.999  # so that each of the 256 values stands for an equal part of 0 to 1


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
        image = augmented(pixels, target.augmentation) if target.augmentation else pixels
        return Example(np.array(image), target.boxes, target.labels)  # a copy: this thread is to read from the disk

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
    """Apply an augmentation to an image (height, width, 3); the result may be a view of it."""
    if augmentation.crops:
        top, left, height, width = augmentation.crop
        image = image[top : top + height, left : left + width]
    if augmentation.resizes:
        height, width = augmentation.size
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    if augmentation.flip:
        image = image[:, ::-1]
    return _recoloured(image, augmentation) if augmentation.recolours else image


def _recoloured(image: NDArray[np.uint8], augmentation: Augmentation) -> NDArray[np.uint8]:
    """Change the colours, in the order and with the definitions of torchvision, in float32 from 0 to 1."""
    colours = image.astype(np.float32)
    colours /= 255
    if augmentation.brightness != 1:
        colours *= np.float32(augmentation.brightness)
        np.clip(colours, 0, 1, out=colours)
    if augmentation.contrast != 1:
        _blend(colours, np.float32((colours @ _GREY).mean()), augmentation.contrast)
    if augmentation.saturation != 1:
        _blend(colours, (colours @ _GREY)[..., None], augmentation.saturation)
    if augmentation.hue:
        colours = _hue_turned(colours, augmentation.hue)
    colours *= np.float32(_BINS)
    return colours.astype(np.uint8)


def _blend(colours: NDArray[np.float32], grey: NDArray[np.float32] | np.float32, share: float) -> None:
    """Turn colours into a mixture of a grey and themselves, in place."""
    colours *= np.float32(share)
    colours += np.float32(1 - share) * grey
    np.clip(colours, 0, 1, out=colours)


def _hue_turned(colours: NDArray[np.float32], turns: float) -> NDArray[np.float32]:
    with tf.device("CPU"):  # the reading threads leave a GPU to the model
        turned: NDArray[np.float32] = tf.image.adjust_hue(colours, turns).numpy()
    return turned
