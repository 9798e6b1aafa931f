"""Checks that a file's content fits its name: a "not found" page is not an image, whatever its status."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from datapack.download.image_size import image_size

_HEAD = 1024  # bytes: enough to tell what a file is
_BLOCK = 1 << 20  # bytes
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_ZIP_END = b"PK\x05\x06"
_ZIP_TAIL = 22 + 0xFFFF  # bytes: the record at the end of a ZIP file, and its comment
_COMMENTS = rb"(?:\s|<!--(?:(?!-->).)*-->)*"  # matches in only one way, so that no content makes the search slow
_PAGE = rb"(?:\xef\xbb\xbf)?" + _COMMENTS + rb"<(?:!doctype html|html|head|body|title)\b"
_HTML = re.compile(_PAGE, re.IGNORECASE | re.DOTALL)
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:[\[{"0-9-]|true|false|null)')
_TIFF = re.compile(rb"II[*+]\x00|MM\x00[*+]")

# How a file of each format begins (from the formats' specifications), and the file name endings of the format.
_FORMATS: dict[str, tuple[re.Pattern[bytes], tuple[str, ...]]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), (".png",)),
    "JPEG": (re.compile(rb"\xff\xd8\xff"), (".jpg", ".jpeg")),
    "GIF": (re.compile(rb"GIF8[79]a"), (".gif",)),
    "TIFF": (_TIFF, (".tif", ".tiff")),
    "WebP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), (".webp",)),
    "ZIP": (re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"), (".zip",)),
    "JSON": (_JSON, (".json",)),
}
_FORMAT_OF = {ending: name for name, (_, endings) in _FORMATS.items() for ending in endings}
_WEB_PAGES = (".html", ".htm", ".xhtml")
_HTML_TAG = re.compile(rb"<(?:!doctype html|html)\b", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|gpx|kml|rss|feed|\w+:\w+)\b")
_SEGMENTS = 20_000  # of a JPEG before its pixels: a real one has a few hundred


class WrongContentError(Exception):
    """A file's content does not fit its name; ``str()`` says why, without the name."""


def check_content(
    file: BinaryIO,
    name: str,
    pixels: tuple[int, int] | None = None,
    media_type: str = "",
    *,
    length_known: bool = True,
) -> None:
    """Check a file as far as possible without decoding it.

    Args:
        file: the complete file, open for reading; its position changes.
        name: its name; the ending gives the format.
        pixels: the width and height that an image must have, if known.
        media_type: the ``Content-Type`` from the server.
        length_known: whether its length was announced. If not, the end of its format must be there.

    Raises:
        WrongContentError: it is a web page, has another format, is cut off, or is an image of another size.
    """
    file.seek(0)
    head = file.read(_HEAD)
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name in a list, not a path on this disk
    form = _FORMAT_OF.get(ending)
    if ending not in _WEB_PAGES and _is_web_page(head, media_type):
        raise WrongContentError("a web page instead of the file")
    if form and not _FORMATS[form][0].match(head):
        raise WrongContentError(f"not a {form} file" if head else "an empty file")
    if form and (form == "PNG" or not length_known) and not _has_end(file, form):
        raise WrongContentError(f"a {form} file that is cut off")
    if pixels and form not in {None, "ZIP", "JSON"}:
        _check_pixels(file, str(form), pixels)


def _is_web_page(head: bytes, media_type: str) -> bool:
    """Whether a file begins as HTML, or is declared as that and begins with any tag, unless it is XML."""
    if _HTML.match(head):
        return True
    declared = media_type.partition(";")[0].strip().lower() == "text/html" and head.lstrip().startswith(b"<")
    return declared and not (_XML.match(head) and not _HTML_TAG.search(head))


def _has_end(file: BinaryIO, form: str) -> bool:
    """Whether a file has what its format ends with. Some programs write bytes after it."""
    size = file.seek(0, os.SEEK_END)
    match form:
        case "PNG":  # the chunk IEND (PNG specification, 11.2.5)
            return _has(file, _PNG_END, size - len(_PNG_END)) or _has(file, _PNG_END, 0)
        case "JPEG":  # the marker EOI, which no compressed data contains
            scan = _jpeg_scan(file)
            return _has(file, b"\xff\xd9", max(scan, size - 2)) or _has(file, b"\xff\xd9", scan)
        case "GIF":
            file.seek(max(0, size - _HEAD))
            return file.read().rstrip(b"\x00").endswith(b";")
        case "WebP":  # RIFF says how long it is
            file.seek(4)
            return int.from_bytes(file.read(4), "little") + 8 <= size
        case "ZIP":
            return _has(file, _ZIP_END, max(0, size - _ZIP_TAIL))
    return True


def _has(file: BinaryIO, mark: bytes, start: int) -> bool:
    """Whether a file contains these bytes at ``start`` or after it."""
    file.seek(max(0, start))
    rest = b""
    while block := file.read(_BLOCK):
        if mark in rest + block:
            return True
        rest = block[1 - len(mark) :]
    return False


def _jpeg_scan(file: BinaryIO) -> int:
    """Return where the first scan of a JPEG begins. Before it there may be a complete JPEG: the thumbnail."""
    at = 2
    for _ in range(_SEGMENTS):
        file.seek(at)
        marker = file.read(4)
        if len(marker) < 4 or marker[0] != 0xFF or marker[1] == 0xDA:  # noqa: PLR2004 - a marker, its length; SOS
            break
        at += 1 if marker[1] == 0xFF else 2 + int.from_bytes(marker[2:], "big")  # noqa: PLR2004 - a fill byte
    return at


def _check_pixels(file: BinaryIO, form: str, expected: tuple[int, int]) -> None:
    """Compare an image's size with the expected one. Only the header is read; nothing is decoded."""
    try:
        found = image_size(file, form)
    except ValueError as error:
        raise WrongContentError(f"not a readable {form} file") from error
    if found != expected:
        wanted, got = (f"{width} x {height}" for width, height in (expected, found))
        raise WrongContentError(f"an image of {got} pixels, listed as {wanted}")
