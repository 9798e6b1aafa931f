"""Decode an image file to pixels of the size that the model needs.

Pillow opens every file: it decides what is an image, how large it is and what is wrong with it. It also decodes all of
them but common PNGs. Their pixels come from libpng through imagecodecs: the same pixels, sooner. libpng releases the
GIL once for a file, Pillow once for a chunk of it, so beside a busy thread Pillow waits dozens of times.
"""

from __future__ import annotations

import io
import logging
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    Array = NDArray[np.uint8]

_FORMS = {"L", "RGB", "RGBA"}  # what libpng decodes, as Pillow calls it: 8 bits for a channel, no palette
_HEADER = 33  # bytes: a PNG's signature and its chunk IHDR
_CHUNK = struct.Struct(">I4s")  # the length and the type of a PNG's chunk
_PLAIN = {b"IDAT", b"tEXt", b"tIME", b"eXIf"}  # chunks that Pillow accepts with any content, if they are whole

logging.getLogger("imagecodecs").setLevel(logging.ERROR)  # libpng's warnings do not belong in a job's log


class BrokenImageError(ValueError):
    """An image that can't be decoded, or whose size is not the one in the COCO file."""


def decode(content: bytes, given: Sequence[int], wanted: Sequence[int]) -> Array:
    """Decode an image and resize it.

    Args:
        content: a whole file, in any format that Pillow reads.
        given: the width and height that it must have, pixels.
        wanted: the width and height of the result, pixels.

    Raises:
        BrokenImageError: the file can't be decoded, or the image has another size.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the size is compared with the COCO file before a pixel is decoded
    try:
        image = _rgb(content, (int(given[0]), int(given[1])))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:  # what Pillow raises for broken files
        if isinstance(error, BrokenImageError):
            raise
        reason = "not an image in a known format" if isinstance(error, UnidentifiedImageError) else error
        raise BrokenImageError(f"it does not decode: {reason}") from error
    size = int(wanted[0]), int(wanted[1])
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))


def _rgb(content: bytes, given: tuple[int, int]) -> Image.Image:
    """Decode an image to 8 bits of RGB: grey is repeated, alpha is dropped, 16-bit grey keeps its upper 8 bits."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as opened:
        image: Image.Image = opened
        if image.size != given and image.size == given[::-1]:
            image = ImageOps.exif_transpose(image)  # a photograph that the camera stored on its side
        if image.size != given:
            expected, found = ("{} x {}".format(*numbers) for numbers in (given, image.size))
            raise BrokenImageError(f"expected {expected} pixels, found {found}")
        if image is opened:
            image = _by_libpng(opened, content) or opened
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")


def _by_libpng(opened: Image.Image, content: bytes) -> Image.Image | None:
    """Decode a common PNG that Pillow has opened. Return None where Pillow must decode it, or say what is wrong."""
    from imagecodecs import PngError, png_decode
    from PIL import Image, PngImagePlugin

    if not isinstance(opened, PngImagePlugin.PngImageFile) or not opened.tile:
        return None
    form, start = opened.tile[0].args, opened.tile[0].offset - _CHUNK.size
    if form not in _FORMS or content.count(b"IHDR", 0, start) != 1 or not _plain(content, start):
        return None
    try:
        # without the chunks before the pixels: Pillow has checked them, and RGB values do not depend on them
        return Image.fromarray(png_decode(content[:_HEADER] + content[start:]))
    except (PngError, ValueError):
        return None


def _plain(content: bytes, start: int) -> bool:
    """Tell whether the chunks of a PNG from ``start`` on are whole: Pillow reads them to the end, libpng does not."""
    kind = b"IDAT"
    while kind in _PLAIN and start + _CHUNK.size <= len(content):
        length, kind = _CHUNK.unpack_from(content, start)
        start += _CHUNK.size + length + 4  # the checksum
    return kind == b"IEND"
