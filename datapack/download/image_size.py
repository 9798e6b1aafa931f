"""The width and height of an image, from the header of its file. Little of it is read, whatever the header says."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO

from datapack.download.tiff_tags import TiffTags

if TYPE_CHECKING:
    from collections.abc import Callable

    Size = tuple[int, int]

_MOST_STEPS = 20_000  # through the segments of a JPEG: a real one has a few hundred
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG (ITU-T T.81, table B.1)
_ALONE = {0x00, 0x01, *range(0xD0, 0xD9), 0xFF}  # markers and fill bytes without a length
_END = {0xD9, 0xDA}  # of the header: end of the image, start of its pixels
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # tags of TIFF
_WHOLE_NUMBERS = {1, 3, 4, 16}  # types of a TIFF's tags: BYTE, SHORT, LONG, LONG8
_ON_ITS_SIDE = range(5, 9)


def image_size(file: BinaryIO, form: str) -> Size:
    """Return the width and height in pixels; for a TIFF that is stored on its side, the size in which it is shown.

    Args:
        file: open for reading; its position changes.
        form: ``PNG``, ``JPEG``, ``GIF``, ``TIFF`` or ``WebP``.

    Raises:
        ValueError: the header has no size, is cut off, or is in too many pieces.
    """
    file.seek(0)
    try:
        return _READERS[form](file)
    except struct.error as error:
        raise ValueError("the header is cut off") from error


def _png(file: BinaryIO) -> Size:
    header = file.read(33)
    length, kind = struct.unpack(">I4s", header[8:16])
    if (length, kind) != (13, b"IHDR") or header[29:] != struct.pack(">I", zlib.crc32(header[12:29])):
        raise ValueError("no intact IHDR")
    width, height = struct.unpack(">II", header[16:24])
    return width, height


def _gif(file: BinaryIO) -> Size:
    width, height = struct.unpack("<6xHH", file.read(10))
    return width, height


def _webp(file: BinaryIO) -> Size:
    header = file.read(30).ljust(30, b"\0")
    if int.from_bytes(header[4:8], "little") + 8 > file.seek(0, os.SEEK_END):
        raise ValueError("the file is cut off")
    kind = header[12:16]
    if kind == b"VP8 " and header[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(header[26:28], "little") & 0x3FFF, int.from_bytes(header[28:30], "little") & 0x3FFF
    if kind == b"VP8L" and header[20] == 0x2F:  # noqa: PLR2004 - its signature
        bits = int.from_bytes(header[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(header[24:27], "little") + 1, int.from_bytes(header[27:30], "little") + 1
    raise ValueError("no size where WebP has it")


def _jpeg(file: BinaryIO) -> Size:
    """Go from segment to segment, over anything between them, as decoders do."""
    file.seek(2)
    for _ in range(_MOST_STEPS):
        byte = file.read(1)
        if byte != b"\xff":
            if not byte:
                break
            continue
        (marker,) = struct.unpack("B", file.read(1))
        if marker in _ALONE:
            file.seek(-1 if marker == 0xFF else 0, os.SEEK_CUR)  # noqa: PLR2004 - a fill byte, before a marker
            continue
        if marker in _END:
            break
        (length,) = struct.unpack(">H", file.read(2))
        if marker in START_OF_FRAME:
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(max(0, length - 2), os.SEEK_CUR)
    raise ValueError("no size before the pixels, or too many segments")


def _tiff(file: BinaryIO) -> Size:
    tiff = TiffTags(file)
    tags = tiff.directory(tiff.first)
    single = {name: tag for name, tag in tags.items() if tag.values == 1 and tag.kind in _WHOLE_NUMBERS}
    width, height = (tiff.number(single.get(name)) for name in (_WIDTH, _HEIGHT))
    if width is None or height is None:
        raise ValueError("no size among the tags")
    return (height, width) if tiff.number(single.get(_ORIENTATION)) in _ON_ITS_SIDE else (width, height)


_READERS: dict[str, Callable[[BinaryIO], Size]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "TIFF": _tiff,
    "WebP": _webp,
}
