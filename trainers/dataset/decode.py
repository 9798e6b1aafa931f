"""Decode an image file to pixels of the size that the model needs.

Pillow opens every file: it decides whether it is an image, how large it is, and whether it is broken. It also decodes
everything except common PNGs. libspng decodes those, through imagecodecs: the same pixels in less time. It releases the
GIL once per file and Pillow once per chunk, so next to a busy thread Pillow waits for the GIL dozens of times.

A file may be hostile. Its size is compared with the COCO file's before a pixel is decoded, Pillow reads it in a limited
number of pieces, and whatever goes wrong is a `BrokenImageError`.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from trainers.dataset.depth import has_16_bits, refusal, to_rgb, uses_12_bits
from trainers.dataset.orientation import SIDEWAYS, ask, has_late_exif, must_turn, orientation_of, stored_size, turn
from trainers.errors import DatapackError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    Array = NDArray[np.uint8]

LARGEST = 178_956_970  # pixels of one image: what Pillow accepts by default, 512 MiB of RGB

_FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"}  # none is decoded by a program
_UNKNOWN = "can't be decoded: not an image in a known format"
_PIECES = 20_000  # of a header: a real one has a few hundred
_PIECE = 1 << 16  # bytes: a larger read costs no more than its bytes; a segment of a JPEG is smaller
_PIECES_BYTES = 16 << 20  # in a header
_AVERAGE = 128  # bytes: the pieces that pixels come in are larger
_FORMS = {"L", "RGB", "RGBA"}  # Pillow's names of the modes that libspng decodes: 8 bits per channel, no palette
_HEADER = 33  # bytes: a PNG's signature and its chunk IHDR
_CHUNK = struct.Struct(">I4s")  # the length and the type of a PNG's chunk
_CHECKSUM = struct.Struct(">I")
_HARMLESS = {b"tEXt", b"tIME", b"eXIf"}  # chunks that Pillow accepts with any content, if they are complete
_END = b"\0\0\0\0IEND\xaeB`\x82"


class BrokenImageError(ValueError):
    """An image that can't be decoded, or whose size is not the one in the COCO file."""


class Remark(Enum):
    """What is worth knowing about an image that was decoded."""

    TURNED = "turned, as their EXIF orientation says"
    PLAIN = "of a single colour"
    DARK = "with 16 bits per channel but no value above 4095, almost black: if they have 12 bits, multiply them by 16"


def decode(
    content: bytes,
    given: Sequence[int],
    wanted: Sequence[int],
    *,
    turns: Callable[[], bool] = ask,
    remark: Callable[[Remark], None] = lambda _: None,
) -> Array:
    """Decode an image and resize it.

    Args:
        content: the bytes of the file: AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF or WebP.
        given: the width and height that the image must have, pixels.
        wanted: the width and height of the result, pixels.
        turns: whether to apply an EXIF orientation if the size does not show it; by default that is an error.
        remark: called with what is worth knowing.

    Raises:
        BrokenImageError: the file can't be decoded, or the image has another size.
        DatapackError: from ``turns``.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the size is compared with the COCO file before a pixel is decoded
    width, height = int(given[0]), int(given[1])
    if width * height > LARGEST:
        raise BrokenImageError(f"{width} x {height} pixels, and an image may have at most {LARGEST:,}")
    try:
        image = _rgb(content, (width, height), turns, remark)
    except (BrokenImageError, DatapackError):
        raise
    except UnidentifiedImageError as error:
        raise BrokenImageError(_UNKNOWN) from error
    except Exception as error:  # Pillow documents no list of what a broken file can raise
        raise BrokenImageError(f"can't be decoded: {_reason(error)}") from error
    size = int(wanted[0]), int(wanted[1])
    pixels = np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))
    if _is_plain(pixels):
        remark(Remark.PLAIN)
    return pixels


def on_turned_image(content: bytes, given: tuple[int, int]) -> bool | None:
    """Whether the boxes are on the turned image, as the size in the COCO file shows; None if it does not show that."""
    from PIL import Image

    try:
        with Image.open(_Content(content), formats=_formats()) as opened:
            return _orientation(opened, content, given)[1]
    except Exception:  # the image is broken, which decoding it will say
        return None


def upright_size(content: bytes) -> tuple[int, int]:
    """Return the width and height of an image, pixels, as a viewer shows it; of ``content`` the beginning may do.

    Raises:
        BrokenImageError: it is not an image, or the beginning does not show its size.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the caller decides what is too large, before a pixel is decoded
    try:
        with Image.open(_Content(content), formats=_formats()) as opened:
            width, height = stored_size(opened)
            return (height, width) if orientation_of(opened) in SIDEWAYS else (width, height)
    except UnidentifiedImageError as error:
        raise BrokenImageError(_UNKNOWN) from error
    except Exception as error:  # Pillow documents no list of what a broken file can raise
        raise BrokenImageError(f"can't be decoded: {_reason(error)}") from error


def _is_plain(pixels: Array) -> bool:
    first = pixels[0, 0]
    return bool((pixels[::16, ::16] == first).all() and (pixels == first).all())


def _reason(error: Exception) -> str:
    """Return an error's text on one line; Pillow's own are sentences, Python's say little without their class."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, OSError | SyntaxError) and text else f"{type(error).__name__} {text}".rstrip()


@cache
def _formats() -> tuple[str, ...]:
    """Return the names of those formats that this Pillow can read."""
    from PIL import Image

    Image.init()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # a hostile file would fill the log with them
    return tuple(sorted(_FORMATS & Image.OPEN.keys()))


class _Content(io.BytesIO):
    """A file in memory that Pillow may read in only so many pieces: millions of empty ones would take it a minute."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._length = len(content)  # getbuffer would copy it
        self._pieces, self._bytes = _PIECES, float(_PIECES_BYTES)

    def expect_pixels(self) -> None:
        """Allow the pieces that pixels come in; the header has been read."""
        self._pieces, self._bytes = _most_pieces(self._length), math.inf

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if len(content) < _PIECE:
            self._pieces -= 1
            self._bytes -= len(content)
        if self._pieces < 0 or self._bytes < 0:
            raise BrokenImageError("can't be decoded: it has too much metadata, or is cut into too many pieces")
        return content


def _most_pieces(length: int) -> int:
    return _PIECES + length // _AVERAGE


def _rgb(
    content: bytes, given: tuple[int, int], turns: Callable[[], bool], remark: Callable[[Remark], None]
) -> Image.Image:
    """Decode an image to 8 bits of RGB, turned if the boxes are on the turned image."""
    from PIL import Image

    file = _Content(content)
    with Image.open(file, formats=_formats()) as opened:
        file.expect_pixels()
        deep, is_tiff = has_16_bits(opened), opened.format == "TIFF"
        orientation, wants_turn = _orientation(opened, content, given)
        if why := refusal(opened):
            raise BrokenImageError(why)
        image = to_rgb(_by_libspng(opened, content) or opened)
    if deep and uses_12_bits(image):
        remark(Remark.DARK)
    if orientation > 1:
        wants_turn = turns() if wants_turn is None else wants_turn
        if wants_turn:
            remark(Remark.TURNED)
        if wants_turn != is_tiff:  # Pillow has turned a TIFF
            image = turn(image, orientation, back=is_tiff)
    return image


def _orientation(opened: Image.Image, content: bytes, given: tuple[int, int]) -> tuple[int, bool | None]:
    """Return the orientation and what `must_turn` says; raise `BrokenImageError` if the image has another size.

    The size comes first: the pixels may have to be decoded to find the orientation.
    """
    stored = stored_size(opened)
    if given in {stored, stored[::-1]} and has_late_exif(opened, content):
        opened.load()
    orientation = orientation_of(opened)
    wants_turn = must_turn(orientation, stored, given)
    if wants_turn is None and given != stored:
        expected, found = ("{} x {}".format(*numbers) for numbers in (given, stored))
        raise BrokenImageError(f"expected {expected} pixels, found {found}")
    return orientation, wants_turn


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
    for _ in range(_most_pieces(len(content))):
        if start + _CHUNK.size > len(content):
            break
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
