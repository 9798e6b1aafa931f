"""``fetch.txt`` (RFC 8493, 2.2.3): the URLs of payload files, one line per file: URL, length, path."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from datapack.bag.manifest import sorted_by_bytes
from datapack.urls import quote_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FETCH = "fetch.txt"
_FIELDS = 3  # URL, length, path


def format_fetch(urls: Mapping[str, str], sizes: Mapping[str, int]) -> bytes:
    """Return the bytes of a ``fetch.txt``, sorted by the bytes of the paths.

    Args:
        urls: the URL of each file by its path below the bag.
        sizes: the size of each file in bytes; a file that is not in here has the length ``-``, which means unknown.
    """
    lines = (f"{quote_url(urls[path])} {sizes.get(path, '-')} {_encode(path)}\n" for path in sorted_by_bytes(urls))
    return "".join(lines).encode()


def read_fetch(path: Path) -> dict[str, str]:
    """Read the URLs of a ``fetch.txt``, by path below the bag; a missing file has none.

    Malformed lines are ignored: they only cost a second download.
    """
    with suppress(FileNotFoundError):
        lines = (line.split(" ", _FIELDS - 1) for line in path.read_text("utf-8", "replace").split("\n"))
        return {_decode(line[-1]): line[0] for line in lines if len(line) == _FIELDS}
    return {}


def _encode(path: str) -> str:
    """Encode ``%`` as RFC 8493 requires. It also requires it for line ends, which our paths never contain."""
    return path.replace("%", "%25")


def _decode(path: str) -> str:
    return path.replace("%25", "%")
