"""What the header of an image file says: its size, what its pixels are, and whether it can be read at all."""

from __future__ import annotations

import io
import os
from functools import cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from datapack.download.content import WrongContentError, check_content
from datapack.download.image_size import START_OF_FRAME, image_size
from datapack.download.tiff_tags import TiffTags
from datapack.inspect.blocks import png_chunks, segments
from datapack.inspect.forms import HEAD, LARGEST, READABLE

if TYPE_CHECKING:
    from collections.abc import Callable

_ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "TIFF": ".tif", "WebP": ".webp"}  # whose headers we read
_PILLOW = {"BMP": "BMP", "PPM": "PPM", "JPEG 2000": "JPEG2000", "AVIF": "AVIF"}  # our names of forms, and Pillow's
_PILLOW_BYTES = 1 << 20  # what Pillow gets of a file: the header is in it
_AVIF_BYTES = 64 << 20  # Pillow reads a whole AVIF at once
_LAST = {"JPEG": b"\xff\xd9", "GIF": b";"}  # the last bytes of most files
_MOST_CHUNKS = 1000  # before the pixels of a PNG: a real one has a few
_SIDEWAYS = 4  # a greater orientation exchanges the sides
_DEEP, _DEEPER = 16, 32  # bits per channel
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325  # tags of TIFF
_BITS, _COLOURS, _EXTRA, _SAMPLES = 258, 262, 338, 339
_TIFF_CMYK, _TIFF_UNSIGNED, _TIFF_FRACTIONS = 5, 1, 3
_JPEG_BITS, _JPEG_CMYK = 8, 4


class Header(NamedTuple):
    """The width and height in pixels, as stored, what is unusual about the pixels, and why it can't be read."""

    width: int = 0
    height: int = 0
    traits: tuple[str, ...] = ()
    problem: str = ""


def read_header(file: BinaryIO, form: str, orientation: int) -> Header:
    """Read the header of an image whose form is that of its content. Nothing is raised for a hostile file."""
    if form in _PILLOW:
        return _by_pillow(file, form)
    if form not in _ENDINGS:
        return Header()
    try:
        known = form == "PNG" or _has_usual_end(file, form)
        check_content(file, f"x{_ENDINGS[form]}", length_known=known)
        size = image_size(file, form)
        traits = _TRAITS[form](file)
    except WrongContentError as error:
        return Header(problem=str(error))
    except ValueError:
        return Header(problem=f"the header of this {form} file is broken")
    if form == "TIFF":
        size = size[::-1] if orientation > _SIDEWAYS else size
        if _is_cut_off(file):
            return Header(problem="a TIFF file that is cut off")
    return _checked(size, traits)


def explain(file: BinaryIO, named: str) -> str:
    """Say why a file can't be an image of this form, as which it does not begin; nothing if it still may be one."""
    try:
        check_content(file, f"x{_ENDINGS.get(named, '')}")
    except WrongContentError as error:
        return str(error)
    if not file.seek(0, os.SEEK_END):
        return "an empty file"
    return f"not a {named} file" if named in READABLE else ""


def _checked(size: tuple[int, int], traits: set[str]) -> Header:
    width, height = size
    if not width or not height:
        return Header(problem="an image without pixels")
    if width * height > LARGEST:
        return Header(problem=f"{width:,} x {height:,} pixels, and an image may have at most {LARGEST:,}")
    return Header(width, height, tuple(sorted(traits)))


def _has_usual_end(file: BinaryIO, form: str) -> bool:
    last = _LAST.get(form)
    if not last:
        return False
    file.seek(max(0, file.seek(0, os.SEEK_END) - len(last)))
    return file.read() == last


def _png_traits(file: BinaryIO) -> set[str]:
    file.seek(24)
    depth, colours = file.read(2)
    chunks = (kind for kind, _, _ in islice(png_chunks(file.fileno()), _MOST_CHUNKS))
    before = {*takewhile(lambda kind: kind != b"IDAT", chunks)}
    found = {"16 bits"} if depth == _DEEP else set()
    found |= {"alpha"} if colours in {4, 6} or b"tRNS" in before else set()
    return found | ({"animated"} if b"acTL" in before else set())


def _jpeg_traits(file: BinaryIO) -> set[str]:
    for marker, _ in segments(file):
        if marker in START_OF_FRAME:
            frame = file.read(6).ljust(6, b"\0")
            deep = {f"{frame[0]}-bit JPEG"} if frame[0] != _JPEG_BITS else set()
            return deep | ({"CMYK"} if frame[5] == _JPEG_CMYK else set())
    return set()


def _gif_traits(file: BinaryIO) -> set[str]:
    file.seek(0)
    return {"animated"} if b"NETSCAPE2.0" in file.read(4 * HEAD) else set()


def _webp_traits(file: BinaryIO) -> set[str]:
    file.seek(12)
    head = file.read(9)
    flags = head[8] if head[:4] == b"VP8X" and len(head) > 8 else 0  # noqa: PLR2004 - the flags follow type and length
    return ({"alpha"} if flags & 0x10 else set()) | ({"animated"} if flags & 0x02 else set())


def _tiff_traits(file: BinaryIO) -> set[str]:
    tiff = TiffTags(file)
    tags = tiff.directory(tiff.first)
    bits, samples = max(tiff.numbers(tags.get(_BITS)), default=1), tiff.number(tags.get(_SAMPLES)) or _TIFF_UNSIGNED
    found = {"CMYK"} if tiff.number(tags.get(_COLOURS)) == _TIFF_CMYK else set()
    if _EXTRA in tags:
        found.add("alpha")
    if samples == _TIFF_FRACTIONS:
        found.add("fractions")
    elif bits >= _DEEPER or samples != _TIFF_UNSIGNED:
        found.add("32-bit or signed numbers")
    elif bits > 8:  # noqa: PLR2004 - of most images
        found.add(f"{bits} bits")
    return found


_TRAITS: dict[str, Callable[[BinaryIO], set[str]]] = {
    "PNG": _png_traits,
    "JPEG": _jpeg_traits,
    "GIF": _gif_traits,
    "WebP": _webp_traits,
    "TIFF": _tiff_traits,
}


def _is_cut_off(file: BinaryIO) -> bool:
    """Whether the pixels of a TIFF reach over the end of the file."""
    tiff, size = TiffTags(file), file.seek(0, os.SEEK_END)
    tags = tiff.directory(tiff.first)
    for places, lengths in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        pairs = zip(tiff.numbers(tags.get(places)), tiff.numbers(tags.get(lengths)), strict=False)
        if any(place + length > size for place, length in pairs):
            return True
    return False


def _by_pillow(file: BinaryIO, form: str) -> Header:
    """Let Pillow open an image of a rare form, which decodes nothing."""
    image = _pillow()
    most = _AVIF_BYTES if form == "AVIF" else _PILLOW_BYTES
    if form == "AVIF" and file.seek(0, os.SEEK_END) > most:
        return Header()
    file.seek(0)
    try:
        with image.open(io.BytesIO(file.read(most)), formats=(_PILLOW[form],)) as opened:
            traits = {"alpha"} if "A" in opened.getbands() else set()
            traits |= {"animated"} if getattr(opened, "n_frames", 1) > 1 else set()
            traits |= {"16 bits"} if opened.mode.startswith("I") else set()
            traits |= {"fractions"} if opened.mode == "F" else set()
            return _checked(opened.size, traits)
    except image.DecompressionBombError:
        return Header(problem=f"more pixels than the {LARGEST:,} that an image may have")
    except Exception as error:  # Pillow documents no list of what a broken file can raise
        reason = " ".join(str(error).split())[:200]
        return Header(problem=f"the header of this {form} file is broken" + (f": {reason}" if form in reason else ""))


@cache
def _pillow():  # type: ignore[no-untyped-def]
    """Return Pillow's module, which must print no warning about a hostile file."""
    import warnings

    from PIL import Image

    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image
