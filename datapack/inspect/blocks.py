"""Where an image file keeps its metadata: segments of a JPEG, chunks of a PNG or a WebP. No pixel is read."""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from datapack.inspect.metadata import LARGEST_BLOCK, Facts, inflate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_SEGMENTS = 2000  # of a JPEG, before its pixels: a real one has a few dozen
_MOST_CHUNKS = 200_000  # of a PNG: one of 1.6 GB has as many
_MOST_TEXTS = 1000  # chunks with metadata
_TIFF_HEADER, _XMP_PACKET = re.compile(rb"II\*\0|MM\0\*"), re.compile(rb"<x:xmpmeta")
_MOST_FOUND, _LARGEST_PACKET = 8, 1 << 16  # pieces of metadata, and bytes of XMP data
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF = b"Exif\0\0"
_PHOTOSHOP = b"Photoshop 3.0\0"


def read_facts(file: BinaryIO, form: str) -> Facts:
    """Return what the metadata of an image tells; its form must be that of its content."""
    facts = Facts()
    if form in _READERS:
        _READERS[form](file, facts)
    return facts


def _jpeg(file: BinaryIO, facts: Facts) -> None:
    """Read APP1 and APP13, up to the start of the first scan (ITU-T T.81, B.1.1)."""
    for marker, length in segments(file):
        if marker == 0xE1:  # noqa: PLR2004 - APP1
            content = file.read(length)
            if content.startswith(_EXIF):
                facts.add_exif(content)
            elif content.startswith(_XMP):
                facts.add_xmp(content[len(_XMP) :])
        elif marker == 0xED:  # noqa: PLR2004 - APP13
            content = file.read(length)
            if content.startswith(_PHOTOSHOP):
                facts.add_iptc(content)


def segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment and the length of its content, at which the file then stands."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in {0xD9, 0xDA}:  # noqa: PLR2004 - EOI, SOS
            return
        if head[1] == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
            continue
        length = max(2, int.from_bytes(head[2:], "big"))
        yield head[1], length - 2
        at += 2 + length


def _png(file: BinaryIO, facts: Facts) -> None:
    """Read eXIf and the texts, which may also stand behind the pixels (PNG specification, 11.3.3 and 11.3.4)."""
    texts = 0
    for kind, at, length in png_chunks(file.fileno()):
        if kind in _PNG_CHUNKS:
            _PNG_CHUNKS[kind](facts, os.pread(file.fileno(), min(length, LARGEST_BLOCK), at))
            texts += 1
            if texts > _MOST_TEXTS:
                return


def png_chunks(descriptor: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each chunk of a PNG, where its content begins, and the length of that.

    Of several IDAT in a row, not each is given.
    """
    at = 8
    for _ in range(_MOST_CHUNKS):
        head = os.pread(descriptor, 8, at)
        if len(head) < 8 or head[4:] == b"IEND":  # noqa: PLR2004 - length and type
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], at + 8, length
        at = (_last_alike(descriptor, head, at, length + 12) if head[4:] == b"IDAT" else at) + length + 12


def _last_alike(descriptor: int, head: bytes, at: int, stride: int) -> int:
    """Return where the last of the IDAT begins that are as long as the one at ``at``.

    All IDAT stand together (PNG specification, 5.6), and most programs make all but the last equally long: hundreds in
    an image, of which this reads a dozen.
    """
    step = 1
    while step:
        if os.pread(descriptor, 8, at + step * stride) == head:
            at += step * stride
            step *= 2
        else:
            step //= 2
    return at


def _text(facts: Facts, content: bytes) -> None:
    keyword, _, text = content.partition(b"\0")
    facts.add_text(keyword, text)


def _packed_text(facts: Facts, content: bytes) -> None:
    keyword, _, text = content.partition(b"\0")
    facts.add_text(keyword, inflate(text[1:]))  # one byte names the method, of which there is only one


def _international_text(facts: Facts, content: bytes) -> None:
    keyword, _, rest = content.partition(b"\0")
    text = b"\0".join(rest[2:].split(b"\0", 2)[2:])  # after two flags: the language and the translated keyword
    facts.add_text(keyword, inflate(text) if rest[:1] == b"\1" else text)


_PNG_CHUNKS: dict[bytes, Callable[[Facts, bytes], None]] = {
    b"eXIf": Facts.add_exif,
    b"tEXt": _text,
    b"zTXt": _packed_text,
    b"iTXt": _international_text,
}


def _webp(file: BinaryIO, facts: Facts) -> None:
    """Read the chunks EXIF and XMP (RFC 9649, 2.7.1.4 and 2.7.1.5)."""
    at = 12
    for _ in range(_MOST_SEGMENTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004 - type and length
            return
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            facts.add_exif(file.read(min(length, LARGEST_BLOCK)))
        elif head[:4] == b"XMP ":
            facts.add_xmp(file.read(min(length, LARGEST_BLOCK)))
        at += 8 + length + length % 2


def _tiff(file: BinaryIO, facts: Facts) -> None:
    facts.add_tiff(file)


def _scan(file: BinaryIO, facts: Facts) -> None:
    """Look for EXIF and XMP data near both ends of a file whose parts are not followed: HEIC, AVIF and others.

    EXIF data begins with four bytes that compressed pixels hold by chance once in four billion places.
    """
    size = file.seek(0, os.SEEK_END)
    for start in sorted({0, max(0, size - LARGEST_BLOCK)}):
        file.seek(start)
        content = file.read(LARGEST_BLOCK)
        for found in islice(_TIFF_HEADER.finditer(content), _MOST_FOUND):
            facts.add_exif(content[found.start() :])
        for found in islice(_XMP_PACKET.finditer(content), _MOST_FOUND):
            facts.add_xmp(content[found.start() : found.start() + _LARGEST_PACKET])


_READERS: dict[str, Callable[[BinaryIO, Facts], None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "TIFF": _tiff,
    "camera raw": _tiff,
    **dict.fromkeys(("AVIF", "HEIC", "JPEG XL", "JPEG 2000", "Photoshop"), _scan),
}
