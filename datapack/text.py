"""Text for people: sizes in units, and foreign text that can't pretend to be a line of ours."""

from __future__ import annotations

import io
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

# Control characters, invisible ones (zero width, change of direction), halves of a pair, ends of lines and paragraphs.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def shown(text: str) -> str:
    r"""Return a text as it may stand in one line of a log or a terminal; to show it twice changes nothing.

    File names, URLs, answers of servers and names of categories are foreign: a line feed in one could add a line that
    says ``IMPORT OK``, an escape sequence could delete the line before. Such characters become ``\n`` or ``\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(map(_escape, text))


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _ESCAPED else letter


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


def escape_unknown(*streams: TextIO) -> None:
    """Let streams escape characters that their encoding lacks: ASCII has no é, and a message must not fail for that."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
