"""Text for people: sizes in units, counts, and streams that take every character."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


def size(count: int) -> str:
    """Format a number of bytes in decimal units: ``1.3 GB``."""
    if count < 1000:  # noqa: PLR2004 - the decimal unit step
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.5:  # noqa: PLR2004 - anything larger rounds to the next unit
            return f"{amount:.3g} {unit}"
    return f"{amount / 1000:.3g} TB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Format a number of things: ``1 file``, ``4,000 files``; with a plural that has no ``s``: ``2 boxes``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {plural or f'{noun}s'}"


def short_digest(digest: str) -> str:
    """Shorten a digest to what a table has space for: ``sha256:1f2e3d4c5b6a``."""
    return digest[: len("sha256:") + 12]


def duration(seconds: float) -> str:
    """Format a time in one unit: ``40 s``, ``26 min``, ``3.5 h``."""
    if seconds < 90:  # noqa: PLR2004 - above, minutes read better
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def escape_unknown(*streams: TextIO) -> None:
    """Let streams escape characters that their encoding lacks: ASCII has no é, and a message must not fail for that."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
