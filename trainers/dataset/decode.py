"""Decode an image file to pixels of the size that the model needs.

Pillow opens every file: it decides whether it is an image, how large it is, and whether it is broken. It also decodes
everything except common PNGs. libspng decodes those, through imagecodecs: the same pixels in less time. It releases the
GIL once per file and Pillow once per chunk, so next to a busy thread Pillow waits for the GIL dozens of times.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    Array = NDArray[np.uint8]

_BROKEN = (  # what Pillow raises for broken files
    *(OSError, SyntaxError, ValueError, EOFError, MemoryError),
    *(IndexError, TypeError, struct.error),
)
_FORMS = {"L", "RGB", "RGBA"}  # Pillow's names of the modes that libspng decodes: 8 bits per channel, no palette
_HEADER = 33  # bytes: a PNG's signature and its chunk IHDR
_CHUNK = struct.Struct(">I4s")  # the length and the type of a PNG's chunk
_CHECKSUM = struct.Struct(">I")
_HARMLESS = {b"tEXt", b"tIME", b"eXIf"}  # chunks that Pillow accepts with any content, if they are complete
_END = b"\0\0\0\0IEND\xaeB`\x82"


class BrokenImageError(ValueError):
    """An image that can't be decoded, or whose size is not the one in the COCO file."""


def decode(content: bytes, given: Sequence[int], wanted: Sequence[int]) -> Array:
    """Decode an image and resize it.

    Args:
        content: the bytes of the file, in any format that Pillow reads.
        given: the width and height that the image must have, pixels.
        wanted: the width and height of the result, pixels.

    Raises:
        BrokenImageError: the file can't be decoded, or the image has another size.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the size is compared with the COCO file before a pixel is decoded
    try:
        image = _rgb(content, (int(given[0]), int(given[1])))
    except _BROKEN as error:
        if isinstance(error, BrokenImageError):
            raise
        reason = "not an image in a known format" if isinstance(error, UnidentifiedImageError) else error
        raise BrokenImageError(f"can't be decoded: {reason}") from error
    size = int(wanted[0]), int(wanted[1])
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))


def _rgb(content: bytes, given: tuple[int, int]) -> Image.Image:
    """Decode an image to 8 bits of RGB: grey is repeated, alpha is dropped, 16-bit grey keeps its upper 8 bits."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as opened:
        image: Image.Image = opened
        if image.size != given and image.size == given[::-1]:
            image = ImageOps.exif_transpose(image)  # a photo that the camera stored rotated
        if image.size != given:
            expected, found = ("{} x {}".format(*numbers) for numbers in (given, image.size))
            raise BrokenImageError(f"expected {expected} pixels, found {found}")
        if image is opened:
            image = _by_libspng(opened, content) or opened
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")


def _by_libspng(opened: Image.Image, content: bytes) -> Image.Image | None:
    """Decode a common PNG that Pillow has opened. Return None if Pillow must decode it, or must report the error."""
    from imagecodecs import SpngError, spng_decode
    from PIL import Image, PngImagePlugin

    if not isinstance(opened, PngImagePlugin.PngImageFile) or not opened.tile:
        return None
    form, start = opened.tile[0].args, opened.tile[0].offset - _CHUNK.size
    stream = _compressed_pixels(content, start)
    if form not in _FORMS or content.count(b"IHDR", 0, start) != 1 or stream is None:
        return None
    try:
        return Image.fromarray(spng_decode(_bare_png(content[:_HEADER], stream)))
    except SpngError:
        return None


def _compressed_pixels(content: bytes, start: int) -> bytes | None:
    """Join the compressed pixels of a PNG from ``start`` on; None if Pillow might reject what follows them."""
    parts: list[bytes] = []
    others: set[bytes] = set()
    while start + _CHUNK.size <= len(content):
        length, kind = _CHUNK.unpack_from(content, start)
        start += _CHUNK.size
        if kind == b"IEND":
            return b"".join(parts) if others <= _HARMLESS else None
        if kind == b"IDAT" and not others:
            parts.append(content[start : start + length])
        else:
            others.add(kind)
        start += length + _CHECKSUM.size
    return None


def _bare_png(header: bytes, stream: bytes) -> bytes:
    """Make a PNG from a header and all compressed pixels, in one chunk.

    Pillow has checked the chunks before the pixels, and RGB values do not depend on them. Pillow ignores the checksums
    of the pixels' chunks, but checks the one inside the compressed stream; libspng does that only for a single chunk.
    """
    checksum = zlib.crc32(stream, zlib.crc32(b"IDAT"))
    return b"".join((header, _CHUNK.pack(len(stream), b"IDAT"), stream, _CHECKSUM.pack(checksum), _END))
