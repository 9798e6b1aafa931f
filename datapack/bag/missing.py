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
        ValueError: it is not UTF-8, or a column is missing.
    """
    rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    try:
        return {row["path"]: Missing(row["url"], row["reason"]) for row in rows}
    except KeyError as error:
        raise ValueError(f"no column {error}") from error
