"""What the pixels of an image show: a perceptual hash, sharpness, brightness, contrast.

Everything is computed with whole numbers, so that each machine gets the same result from the same pixels.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from datapack.inspect.forms import LARGEST, PILLOW_FORMATS
from datapack.inspect.model import DeepImage

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_LONGER_SIDE = 512  # pixels at which sharpness is measured: about what detectors see of an image
_HASHED = 32  # pixels of each side of what is hashed
_BITS = 64
_SCALE = 4096  # of cosines as whole numbers
_SUM_LIMIT = 1 << 16  # values of 16 bits

Image.MAX_IMAGE_PIXELS = LARGEST
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")


def _cosines() -> NDArray[np.int64]:
    """Return the first rows of the matrix of the discrete cosine transform (DCT-II), in whole numbers."""
    rows, columns = np.arange(_BITS // 4)[:, None], np.arange(_HASHED)[None, :]
    angles = np.pi * rows * (2 * columns + 1) / (2 * _HASHED)
    return np.asarray(np.rint(np.cos(angles) * _SCALE), np.int64)


def _lowest() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the lowest frequencies but the mean, the lowest first."""
    size = len(_COSINES)
    order = sorted(((row, column) for row in range(size) for column in range(size)), key=lambda at: (sum(at), at))
    places = np.array(order[1 : _BITS + 1])
    return places[:, 0], places[:, 1]


_COSINES = _cosines()
_LOWEST = _lowest()


def deep_image(file: Path, path: str) -> DeepImage:
    """Decode an image and measure it; ``path`` is its path in the payload. Nothing is raised for a broken file."""
    try:
        with Image.open(file, formats=PILLOW_FORMATS) as opened:
            opened.draft("L", (_LONGER_SIDE, _LONGER_SIDE))  # a JPEG is then decoded at a fraction of its size
            return measure(_grey(opened), path)
    except Exception as error:  # Pillow documents no list of what a broken file can raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return DeepImage(path, 0, 0.0, 0.0, 0.0, f"can't be decoded: {reason}")


def _grey(opened: Image.Image) -> Image.Image:
    """Decode an image to 8 bits of grey; numbers without a fixed range are scaled to it."""
    if opened.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
    if opened.mode in {"I", "F"}:
        values = np.nan_to_num(np.asarray(opened, np.float64))
        low, high = (0.0, float(_SUM_LIMIT)) if opened.format == "PPM" else (float(values.min()), float(values.max()))
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8))
    return opened.convert("L")


def measure(grey: Image.Image, path: str = "") -> DeepImage:
    """Measure an image of 8 bits of grey."""
    small = _fit(grey)
    values = np.asarray(small, np.int32)
    count, total, squares = values.size, int(values.sum(dtype=np.int64)), int((values * values).sum(dtype=np.int64))
    deviation = (max(0, squares * count - total * total)) ** 0.5 / count
    return DeepImage(
        path,
        _likeness(small),
        round(_sharpness(values), 2),
        round(total / count / 255, 4),
        round(deviation / 255, 4),
    )


def _fit(grey: Image.Image) -> Image.Image:
    """Make a large image as small as sharpness is measured at; Pillow first joins whole pixels, which is fast."""
    longer = max(grey.size)
    if longer <= _LONGER_SIDE:
        return grey
    width, height = (max(1, (side * _LONGER_SIDE + longer // 2) // longer) for side in grey.size)
    return grey.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)


def _sharpness(values: NDArray[np.int32]) -> float:
    """Return the variance of the Laplacian; 0 for an image too small for it."""
    if min(values.shape) < 3:  # noqa: PLR2004 - a pixel and its neighbours
        return 0.0
    centre = values[1:-1, 1:-1]
    edges = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * centre
    count, total, squares = edges.size, int(edges.sum(dtype=np.int64)), int((edges * edges).sum(dtype=np.int64))
    return (squares * count - total * total) / (count * count)


def _likeness(grey: Image.Image) -> int:
    """Return a hash of 64 bits: whether each of the lowest frequencies (DCT-II) is above their median."""
    values = np.asarray(grey.resize((_HASHED, _HASHED), Image.Resampling.BILINEAR), np.int64)
    frequencies = (_COSINES @ values @ _COSINES.T)[_LOWEST]
    ordered = np.sort(frequencies)
    bits = 2 * frequencies > ordered[_BITS // 2 - 1] + ordered[_BITS // 2]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
