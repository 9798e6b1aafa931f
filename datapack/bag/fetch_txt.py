"""``fetch.txt`` (RFC 8493, 2.2.3): the URLs of payload files, one line per file: URL, length, path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.bag.manifest import PAYLOAD, check_path, sorted_by_bytes
from datapack.bag.tag_file import read_tag_file, tag_lines
from datapack.errors import BagError, ManifestError
from datapack.urls import quote_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from datapack.files import FileStat

FETCH = "fetch.txt"
_LINE = re.compile(r"(\S+)[ \t]+(?:[0-9]+|-)[ \t]+(.+)")  # URL, length, path
_ENCODED = re.compile("%(0A|0D|25)", re.IGNORECASE)


def fetch_lines(urls: Mapping[str, str], files: Mapping[str, FileStat]) -> Iterator[bytes]:
    """Yield the lines of a ``fetch.txt``, sorted by the bytes of the paths.

    Args:
        urls: the URL of each file by its path below the bag.
        files: the files that are there; one that is not has the length ``-``, which means unknown.
    """
    for path in sorted_by_bytes(urls):
        length = files[path].size if path in files else "-"
        yield f"{quote_url(urls[path])} {length} {_encode(path)}\n".encode()


def parse_fetch(content: bytes, where: object = FETCH) -> dict[str, str]:
    """Return the URL of each file in a ``fetch.txt``, by path below the bag.

    Raises:
        BagError: a line is malformed, or names a file twice, or one outside the payload.
        ManifestError: a name is not allowed in a bag.
    """
    urls: dict[str, str] = {}
    for number, line in enumerate(tag_lines(content, where), start=1):
        path, url = _parse_line(line, f"{where}:{number}")
        if path in urls:
            raise BagError(f"{path} is named twice", where=f"{where}:{number}")
        urls[path] = url
    return urls


def _parse_line(line: str, where: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if not (match and _is_url(match[1])):
        raise BagError("not a line of fetch.txt", where=where, expected="URL LENGTH PATH", found=f"{line[:100]!a}")
    path = check_path(_decode(match[2]), where)
    if not path.startswith(f"{PAYLOAD}/"):
        raise BagError("names a file outside the payload", where=where, expected=f"{PAYLOAD}/...", found=path)
    return path, match[1]


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.scheme == "file"))


def read_fetch(path: Path) -> dict[str, str]:
    """Read the URLs of a ``fetch.txt`` of an unfinished bag; without a sound one, files are only fetched again."""
    try:
        return parse_fetch(read_tag_file(path), path)
    except (BagError, ManifestError):
        return {}


def _encode(path: str) -> str:
    """Encode ``%`` as RFC 8493 requires. It also requires it for line ends, which our paths never contain."""
    return path.replace("%", "%25")


def _decode(path: str) -> str:
    return _ENCODED.sub(lambda match: chr(int(match[1], 16)), path)
