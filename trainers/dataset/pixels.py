"""Decoded images: in one memory-mapped file in ``/scratch``, or decoded each time they are read.

The file holds the pixels of all images in the size that the model sees, one after the other: uint8, height x width x 3,
RGB. The COCO file determines its size before any image is read. It is written while the data is checked.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from datapack.progress import size
from trainers.dataset.decode import BrokenImageError, decode
from trainers.dataset.verify import read_file
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.config import ImageSection
    from trainers.dataset.coco import Coco

    Array = NDArray[np.uint8]

_FORM = 1  # of the file; it changes when older files can no longer be read
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
    """The sizes of the images, and where each of them is in the file."""

    key: str
    given: NDArray[np.int32]  # (N, 2) width and height in the COCO file, pixels
    sizes: NDArray[np.int32]  # (N, 2) width and height as the model sees it, pixels
    offsets: NDArray[np.int64]  # N + 1, bytes

    @classmethod
    def of(cls, coco: Coco, digest: str, section: ImageSection) -> Layout:
        """Lay out the file for these images of the dataset with this digest."""
        sizes = scaled(coco.sizes, section.min_size, section.max_size)
        lengths = sizes.astype(np.int64).prod(axis=1) * 3
        offsets = np.concatenate([[0], np.cumsum(-(-lengths // _ALIGNED) * _ALIGNED)]).astype(np.int64)
        names = "\0".join([digest, str(_FORM), _decoder(), *coco.file_names]).encode()
        return cls(hashlib.sha256(names + sizes.tobytes()).hexdigest()[:16], coco.sizes, sizes, offsets)

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
    """Images that are decoded each time they are read."""

    paths: tuple[Path, ...]
    layout: Layout

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.layout.sizes

    def read(self, index: int) -> Array:
        try:
            return decode(read_file(self.paths[index]), self.layout.given[index], self.layout.sizes[index])
        except BrokenImageError as error:
            raise TrainingError("can't use this image", where=self.paths[index], found=error) from error


@dataclass(frozen=True)
class Cached:
    """Images in a memory-mapped file."""

    layout: Layout
    memory: Array

    @classmethod
    def open(cls, path: Path, layout: Layout) -> Cached | None:
        """Open the file at ``path``; return None if it does not exist or is not complete."""
        if not path.is_file() or path.stat().st_size != layout.bytes or not layout.bytes:
            return None
        return cls(layout, np.memmap(path, np.uint8, "r"))

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.layout.sizes

    def read(self, index: int) -> Array:
        width, height = self.layout.sizes[index]
        start = self.layout.offsets[index]
        return self.memory[start : start + height * width * 3].reshape(height, width, 3)


def cache_path(scratch: Path, layout: Layout) -> Path:
    """Return the path of the file for this layout, which may not exist yet."""
    return scratch / f"pixels-{layout.key}.u8"


@dataclass
class CacheWriter:
    """Writes the file of decoded images, under a temporary name. Several threads may write at the same time."""

    path: Path
    layout: Layout
    descriptor: int
    full: bool = field(default=False)

    @classmethod
    def create(cls, scratch: Path, layout: Layout) -> CacheWriter | str:
        """Create the file in its full size, or return the reason why it can't be created."""
        path = cache_path(scratch, layout)
        partial = path.with_name(f"{path.name}.partial")
        try:
            for old in scratch.glob("pixels-*.partial"):  # left by a killed run
                old.unlink()
            free = shutil.disk_usage(scratch).free
            if free < layout.bytes:
                return f"{scratch} has {size(free)} free, the decoded images need {size(layout.bytes)}"
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return f"{scratch} can't be written to: {error.strerror}"
        writer = cls(partial, layout, descriptor)
        try:
            os.posix_fallocate(descriptor, 0, max(layout.bytes, 1))
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                writer.discard()
                return f"{scratch} has no room for {size(layout.bytes)} of decoded images: {error.strerror}"
        return writer

    def write(self, index: int, pixels: Array) -> None:
        """Write one image at its place; once the disk is full, write nothing more."""
        if self.full:
            return
        content, at = np.ascontiguousarray(pixels).data.cast("B"), int(self.layout.offsets[index])
        try:
            while content:  # not through a memory map: a full disk would kill the process
                written = os.pwrite(self.descriptor, content, at)
                content, at = content[written:], at + written
        except OSError:
            self.full = True

    def finish(self) -> bool:
        """Rename the complete file; return whether it is complete. It is a cache, so it needs no sync."""
        if self.full:
            self.discard()
            return False
        os.ftruncate(self.descriptor, self.layout.bytes)
        os.close(self.descriptor)
        self.path.replace(cache_path(self.path.parent, self.layout))
        return True

    def discard(self) -> None:
        """Remove the file."""
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


def _decoder() -> str:
    from PIL import __version__

    return f"Pillow {__version__}"
