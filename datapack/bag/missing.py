"""``missing.csv``: the files that are missing from a payload because the catalog allows it, with the reasons."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.manifest import sorted_by_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

MISSING = "missing.csv"  # its path in the payload
_HEADER = ("path", "url", "reason")


class Missing(NamedTuple):
    """Why a file is missing: its URL, and what the URL answered."""

    url: str
    reason: str


def format_missing(missing: Mapping[str, Missing]) -> bytes:
    """Return the bytes of ``missing.csv`` for files by their paths in the payload, sorted by the paths' bytes."""
    rows = ((path, *missing[path]) for path in sorted_by_bytes(missing))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_HEADER, *rows])
    return text.getvalue().encode()


def parse_missing(content: bytes) -> dict[str, Missing]:
    """Read ``missing.csv``.

    Raises:
        ValueError: it is not UTF-8, or not such a table.
    """
    rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    try:
        header, *lines = rows
        places = [header.index(column) for column in _HEADER]
        found = [[line[place] for place in places] for line in lines if line]
    except (csv.Error, ValueError, IndexError) as error:
        raise ValueError(f"not a table with the columns {', '.join(_HEADER)}") from error
    return {path: Missing(url, reason) for path, url, reason in found}
