"""Checks that a file's content fits its name: a "not found" page is not an image, whatever its status."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from datapack.download.file_end import has_end
from datapack.download.image_size import image_size

_HEAD = 1024  # bytes: enough to tell what a file is
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
    if form and (form == "PNG" or not length_known) and not has_end(file, form, length_known=length_known):
        raise WrongContentError(f"a {form} file that is cut off")
    if pixels and form not in {None, "ZIP", "JSON"}:
        _check_pixels(file, str(form), pixels)


def _is_web_page(head: bytes, media_type: str) -> bool:
    """Whether a file begins as HTML, or is declared as that and begins with any tag, unless it is XML."""
    if _HTML.match(head):
        return True
    declared = media_type.partition(";")[0].strip().lower() == "text/html" and head.lstrip().startswith(b"<")
    return declared and not (_XML.match(head) and not _HTML_TAG.search(head))


def _check_pixels(file: BinaryIO, form: str, expected: tuple[int, int]) -> None:
    """Compare an image's size with the expected one. Only the header is read; nothing is decoded."""
    try:
        found = image_size(file, form)
    except ValueError as error:
        raise WrongContentError(f"not a readable {form} file") from error
    if found != expected:
        wanted, got = (f"{width} x {height}" for width, height in (expected, found))
        raise WrongContentError(f"an image of {got} pixels, listed as {wanted}")
