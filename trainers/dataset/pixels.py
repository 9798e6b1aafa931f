"""Images as the model sees them: their sizes and their pixels.

The COCO file gives the size of each image before the image is read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trainers.dataset.decode import BrokenImageError, decode
from trainers.dataset.orientation import ask
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trainers.config import ImageSection
    from trainers.dataset.coco import Coco
    from trainers.dataset.verify import Dataset

    Array = NDArray[np.uint8]

_FORM = 3  # of the file in scratch; it changes when older files can no longer be read
_ALIGNED = 64  # bytes, a cache line


class Pixels(Protocol):
    """Decoded, resized images by their index in a `Coco`."""

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2) width and height of what `read` returns, pixels."""

    def read(self, index: int) -> Array:
        """Return an image: uint8 (height, width, 3), RGB. Several threads may call this at the same time."""


@dataclass(frozen=True)
class Layout:
    """The sizes of N images, and the place of each in a file of decoded images."""

    key: str  # of all that decides what the pixels are: equal keys mean equal pixels
    given: NDArray[np.int32]  # (N, 2) width and height in the COCO file, pixels
    sizes: NDArray[np.int32]  # (N, 2) width and height as the model sees it, pixels
    offsets: NDArray[np.int64]  # N + 1, bytes

    @classmethod
    def of(cls, coco: Coco, hashes: Sequence[str], section: ImageSection, turns: str = "") -> Layout:
        """Lay out these images, whose files have the sha256 ``hashes``; ``turns`` is the key of their `TurnRule`."""
        sizes = scaled(coco.sizes, section.min_size, section.max_size)
        lengths = sizes.astype(np.int64).prod(axis=1) * 3
        offsets = np.concatenate([[0], np.cumsum(-(-lengths // _ALIGNED) * _ALIGNED)]).astype(np.int64)
        rules = [_FORM, _decoders(), section.model_dump(exclude={"cache"}), turns, *hashes]
        key = hashlib.sha256(json.dumps(rules).encode() + coco.sizes.tobytes() + sizes.tobytes())
        return cls(key.hexdigest()[:32], coco.sizes, sizes, offsets)

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return int(self.offsets[-1])


def scaled(sizes: NDArray[np.int32], shorter: int, longer: int) -> NDArray[np.int32]:
    """Scale sizes as torchvision does: the shorter side to ``shorter``, unless the longer would exceed ``longer``.

    Args:
        sizes: (N, 2), pixels.
        shorter: pixels.
        longer: pixels.
    """
    factors = np.minimum(shorter / sizes.min(axis=1, initial=2**31 - 1), longer / sizes.max(axis=1, initial=1))
    scaled: NDArray[np.int32] = np.maximum(1, np.floor(sizes * factors[:, None] + 1e-6)).astype(np.int32)
    return scaled


@dataclass(frozen=True)
class Decoded:
    """Images that are decoded each time they are read, from bytes that are compared with the manifest each time."""

    dataset: Dataset
    names: tuple[str, ...]  # in the manifest
    layout: Layout
    turns: Callable[[], bool] = ask  # see `decode`

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.layout.sizes

    def read(self, index: int) -> Array:
        name = self.names[index]
        try:
            content = self.dataset.read(name)
            return decode(content, self.layout.given[index], self.layout.sizes[index], turns=self.turns)
        except BrokenImageError as error:
            raise TrainingError("can't use this image", where=self.dataset.path(name), found=error) from error


@cache
def _decoders() -> tuple[str | None, ...]:
    """Return the versions of what decodes images: another one may give other pixels."""
    from imagecodecs import __version__ as imagecodecs
    from PIL import __version__ as pillow
    from PIL import features

    return imagecodecs, pillow, *(features.version(name) for name in ("jpg", "jpg_2000", "libtiff", "webp", "avif"))
