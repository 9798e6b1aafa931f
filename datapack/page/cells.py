"""Cells of a page's tables: numbers, amounts with units, and foreign names that can't disturb the text around them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup, escape

from datapack.page.svg import short
from datapack.text import size

if TYPE_CHECKING:
    from collections.abc import Sequence


class Amount(NamedTuple):
    """A number that is shown as a text and sorted by its value."""

    text: str
    value: float


# Letters that are written from right to left, such as Hebrew's and Arabic's, with the spaces between them.
_LETTERS = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_FROM_RIGHT = re.compile(f"([{_LETTERS}](?:[{_LETTERS} ]*[{_LETTERS}])?)")

Cell = str | int | Amount | Markup


@dataclass(frozen=True)
class Listing:
    """A table that readers can sort, for the macro ``listing``. Its first column names the row.

    A column is one of numbers if its cell in the first row is a number or an `Amount`.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: str = ""  # what is left out

    def is_number(self, column: int) -> bool:
        return bool(self.rows) and isinstance(self.rows[0][column], int | Amount)


def name(text: str, longest: int = 120) -> Markup:
    """Return a foreign name as markup: its control characters are visible, and its direction ends with it."""
    return Markup("<bdi>{}</bdi>").format(short(text, longest))


def code(text: str, longest: int = 160) -> Markup:
    """Return a path, a digest or a line as markup, in a fixed width."""
    return Markup("<code>{}</code>").format(line(text, longest))


def line(text: str, longest: int = 160) -> Markup:
    """Return a text that goes from left to right, whatever names are in it: the parts of paths and boxes keep order."""
    plain = short(text, longest)
    if plain.isascii():
        return Markup("<bdi>{}</bdi>").format(plain)
    parts = (
        Markup("<bdi>{}</bdi>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(_FROM_RIGHT.split(plain))
    )
    return Markup('<bdi dir="ltr">{}</bdi>').format(Markup("").join(parts))


def link(url: str, text: str) -> Markup:
    """Return a link to another page, unless the address is not one of the web."""
    if not url.startswith(("https://", "http://")):
        return name(text)
    return Markup('<a href="{}" rel="noreferrer noopener">{}</a>').format(url, name(text))


def bytes_of(count: int) -> Amount:
    return Amount(size(count), count)


def share(part: float, whole: float) -> str:
    """Return a share in per cent: ``0 %`` only if it is none, ``100 %`` only if it is all."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:  # noqa: PLR2004 - one digit after the point
        return "under 0.1 %"
    if percent > 99.9 and part < whole:  # noqa: PLR2004 - as above
        return "over 99.9 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"  # noqa: PLR2004 - two digits
