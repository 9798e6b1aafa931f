"""Decoded images: read from one file in ``/scratch`` that is mapped into memory, or decoded anew each time.

The file holds, one after the other, the pixels of each image as the model is to see it: uint8, height x width x 3,
RGB. Its size is known from the COCO file before an image is read. It is written while the data is checked.
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

_FORM = 1  # of the file: another number where older files can't be read
_ALIGNED = 64  # bytes, a cache line


class Pixels(Protocol):
    """Decoded, resized images by their place in a `Coco`."""

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2) width and height of what `read` gives, pixels."""

    def read(self, index: int) -> Array:
        """Return an image: uint8 (height, width, 3), RGB. Threads may call this at once."""


@dataclass(frozen=True)
class Layout:
    """Where each image is in the file, and what it is."""

    key: str
    given: NDArray[np.int32]  # (N, 2) width and height in the COCO file, pixels
    sizes: NDArray[np.int32]  # (N, 2) width and height as the model sees it, pixels
    offsets: NDArray[np.int64]  # N + 1, bytes

    @classmethod
    def of(cls, coco: Coco, digest: str, section: ImageSection) -> Layout:
        """Plan the file for these images of the dataset with this digest."""
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
    """Scale sizes as torchvision's detectors do: the shorter side to ``shorter``, unless the longer is over ``longer``.

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
    """Images that are decoded each time that they are read."""

    paths: tuple[Path, ...]
    layout: Layout

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.layout.sizes

    def read(self, index: int) -> Array:
        try:
            return decode(read_file(self.paths[index]), self.layout.given[index], self.layout.sizes[index])
        except BrokenImageError as error:
            raise TrainingError("an image can't be used", where=self.paths[index], found=error) from error


@dataclass(frozen=True)
class Cached:
    """Images in a file that is mapped into memory."""

    layout: Layout
    memory: Array

    @classmethod
    def open(cls, path: Path, layout: Layout) -> Cached | None:
        """Open the file at ``path``; None where there is none, or not a whole one."""
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
    """Return where the decoded images of this layout are, or will be."""
    return scratch / f"pixels-{layout.key}.u8"


@dataclass
class CacheWriter:
    """The file of decoded images while it is written, under another name. Threads may write at once."""

    path: Path
    layout: Layout
    descriptor: int
    full: bool = field(default=False)

    @classmethod
    def create(cls, scratch: Path, layout: Layout) -> CacheWriter | str:
        """Make the file in its whole size; or return, in words, why there is no room for it."""
        path = cache_path(scratch, layout)
        partial = path.with_name(f"{path.name}.partial")
        try:
            for old in scratch.glob("pixels-*.partial"):  # a killed run's
                old.unlink()
            free = shutil.disk_usage(scratch).free
            if free < layout.bytes:
                return f"{scratch} has {size(free)} free, and the decoded images need {size(layout.bytes)}"
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
        """Write one image in its place; where the disk is full, nothing more is written."""
        if self.full:
            return
        content, at = np.ascontiguousarray(pixels).data.cast("B"), int(self.layout.offsets[index])
        try:
            while content:  # not through the memory map: a full disk would end the process there
                written = os.pwrite(self.descriptor, content, at)
                content, at = content[written:], at + written
        except OSError:
            self.full = True

    def finish(self) -> bool:
        """Give the whole file its name; return whether it is whole. It need not outlive this machine: no sync."""
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
