"""Whether a file has the end that its format asks for: how a file that was cut off is told from a complete one.

A file may hold another file of its format, with an end of its own: a thumbnail, an archive in an archive. So nothing
here searches for an end mark: it goes through the file from its beginning, over what the parts hold, or checks that
the end fits its place. The beginning of a file that was cut off reads as that of the complete one; so no cut passes.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_PARTS = 1_000_000  # a PNG of 8 GB has as many; in a file with more, only the last bytes are checked
_MOST_SEGMENTS = 20_000  # of a JPEG, in the same way: a real one has a few hundred
_BLOCK = 1 << 20  # bytes
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")  # of a JPEG's segment: 00, RST0 to RST7 and fill bytes are none
_EOI, _SOS = 0xD9, 0xDA  # markers of JPEG: end of image, start of scan
_ANY_BYTES = {0xDB, *range(0xE0, 0xF0), 0xFE}  # DQT, APP0 to APP15, COM: segments that may hold what looks like an end
_ZIP_END = re.compile(rb"(?=PK\x05\x06.{8}(.{4})(.{4})(..))", re.DOTALL)  # the next may begin inside of what matches
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_LARGEST_JSON = 256 << 20  # bytes
_ZIP_TAIL = 1 << 17  # bytes: the last record, its comment of at most 64 KiB, and as many bytes after it


def has_end(file: BinaryIO, form: str, *, length_known: bool = False) -> bool:
    """Whether a file has the end of its format; some programs write bytes after it. Nothing is decoded.

    Args:
        file: open for reading; its position changes. It begins as its format does.
        form: ``PNG``, ``JPEG``, ``GIF``, ``WebP``, ``ZIP`` or ``JSON``; of other formats, each file
            has its end.
        length_known: whether its length was announced. Then a PNG's usual last bytes are enough: only a cut just
            where a PNG in it ends has them too. It saves going through each PNG of a folder.
    """
    if length_known and form == "PNG" and _last(file, len(_PNG_END)) == _PNG_END:
        return True
    check = _CHECKS.get(form)
    return check is None or check(file, file.seek(0, os.SEEK_END))


def _png(file: BinaryIO, size: int) -> bool:
    """Go from chunk to chunk as far as IEND (PNG specification, 5.3 and 11.2.5): length, type, content, checksum."""
    at = 8
    for _ in range(_MOST_PARTS):
        file.seek(at)
        chunk = file.read(len(_PNG_END))
        if chunk == _PNG_END:
            return True
        at += 12 + int.from_bytes(chunk[:4], "big")
        if at >= size:
            return False
    return _last(file, len(_PNG_END)) == _PNG_END


def _gif(file: BinaryIO, _size: int) -> bool:
    """Go from block to block as far as the trailer (GIF89a specification, 18 to 27), and over any other byte.

    Extensions and images end with data: sub-blocks that begin with their length. An empty one is the last.
    """
    file.seek(10)
    _skip_colors(file, 2)
    in_data = False
    for _ in range(_MOST_PARTS):
        byte = file.read(1)
        if not byte:
            return False
        if in_data:
            in_data = byte != b"\0"
            file.seek(byte[0], os.SEEK_CUR)
        elif byte == b";":
            return True
        elif byte == b"!":  # an extension: its label
            file.seek(1, os.SEEK_CUR)
            in_data = True
        elif byte == b",":  # an image: its place and size, its colors, the size of its codes
            file.seek(8, os.SEEK_CUR)
            _skip_colors(file, 1)
            in_data = True
    return _last(file, 1) == b";"


def _skip_colors(file: BinaryIO, more: int) -> None:
    """Go over the flags of a GIF or of its image, over ``more`` bytes, and over the color table that the flags tell."""
    flags = int.from_bytes(file.read(1), "big")
    table = 3 << (flags & 7) + 1 if flags & 0x80 else 0
    file.seek(more + table, os.SEEK_CUR)


def _jpeg(file: BinaryIO, size: int) -> bool:
    """Go from marker to marker as far as EOI (ITU-T T.81, B.1.1): over each segment, and over a scan's data after SOS.

    Some cameras and damaged files have data that looks like a segment. If it reaches over the end, EOI as the last
    bytes is enough, but not if the segment may hold any bytes.
    """
    at, kind, scanned = 2, 0, False
    for _ in range(_MOST_SEGMENTS):
        found = _next_marker(file, at)
        if found is None:
            break
        at, kind = found
        if kind == _EOI:
            return True
        scanned |= kind == _SOS
        file.seek(at)
        at += max(2, int.from_bytes(file.read(2), "big"))
        if at >= size:
            break
    return scanned and kind not in _ANY_BYTES and _last(file, 2) == bytes((0xFF, _EOI))


def _next_marker(file: BinaryIO, at: int) -> tuple[int, int] | None:
    """Return where the next marker of a JPEG ends, and which it is. Mostly it is near; a scan's data is long."""
    file.seek(at)
    rest, length = b"", 64
    while block := file.read(length):
        found = _MARKER.search(rest + block)
        if found:
            return at - len(rest) + found.end(), found[1][0]
        at += len(block)
        rest, length = block[-1:], min(2 * length, _BLOCK)
    return None


def _webp(file: BinaryIO, size: int) -> bool:
    """RIFF says how long it is (RFC 9649, 2.4)."""
    file.seek(4)
    return int.from_bytes(file.read(4), "little") + 8 <= size


def _zip(file: BinaryIO, size: int) -> bool:
    """Find the last record (APPNOTE.TXT, 4.3.16) that stands where the directory ends by its own numbers.

    That of an archive in the archive does not: its numbers count from its own beginning. (A .zip file must begin with
    an archive, so no program stands in front of it.) A comment follows, and is part of the archive.
    """
    start = max(0, size - _ZIP_TAIL)
    file.seek(start)
    for record in _ZIP_END.finditer(file.read(_ZIP_TAIL)):
        at = start + record.start()
        length, offset, comment = (int.from_bytes(number, "little") for number in record.groups())
        # Some programs write an archive over 4 GiB with the last 32 bits of its numbers, and no ZIP64 record.
        if (offset + length - at) % (1 << 32) == 0 or _zip64(file, at):
            return at + 22 + comment <= size
    return False


def _zip64(file: BinaryIO, end: int) -> bool:
    """Whether a ZIP64 record and its locator (APPNOTE.TXT, 4.3.14, 4.3.15) stand between directory and last record."""
    file.seek(max(0, end - 20))
    locator = file.read(20)
    if not locator.startswith(b"PK\x06\x07"):
        return False
    (at,) = struct.unpack("<8xQ4x", locator)
    if at > end:
        return False
    file.seek(at)
    record = file.read(56).ljust(56, b"\0")
    signature, rest, length, offset = struct.unpack("<4sQ28xQQ", record)
    return bool(signature == b"PK\x06\x06" and offset + length == at and at + 12 + rest == end - 20)


def _json(file: BinaryIO, size: int) -> bool:
    """Whether every string, object and array is closed (RFC 8259, 2). Of a very large file, only its end is checked."""
    if size > _LARGEST_JSON:
        return _last(file, _BLOCK).rstrip().endswith((b"}", b"]"))
    file.seek(0)
    rest = _JSON_STRING.sub(b"", file.read())
    return b'"' not in rest and all(rest.count(begin) == rest.count(end) for begin, end in (b"{}", b"[]"))


def _last(file: BinaryIO, count: int) -> bytes:
    """Return the last bytes of a file."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - count))
    return file.read()


_CHECKS: dict[str, Callable[[BinaryIO, int], bool]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "WebP": _webp,
    "ZIP": _zip,
    "JSON": _json,
}
