"""Markdown that is made from the code: texts in which names are code, tables, and the parts of a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PART = re.compile(r"(<!-- made by `make reference`: ([^\n]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
_SPAN = re.compile(
    r"``(.+?)``|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)|((?<!\$)\{[^}]*\})"
)  # what is quoted, or YAML in braces
_WORD = re.compile(r"(\(*)(.+?)((?:(?<!\.)\.(?!\.)|[,;:)])*)")  # with the punctuation around it
# A word that nobody speaks: an option, a path, a file name, a reference, a key.
_NAME = re.compile(r"[<@_=/*]|^--?[a-z]|\w:\S|[A-Za-z]\.[a-z]|^\.[A-Za-z]")


def marked(text: str) -> str:
    """Return a text of the code, such as the help of an option, in which each name is marked as code."""
    parts, end = [], 0
    for span in _SPAN.finditer(text):
        parts += [_marked_words(text[end : span.start()]), f"`{next(filter(None, span.groups()))}`"]
        end = span.end()
    return "".join([*parts, _marked_words(text[end:])])


def _marked_words(text: str) -> str:
    return re.sub(r"\S+", lambda word: _marked_word(word[0]), text)


def _marked_word(word: str) -> str:
    match = _WORD.fullmatch(word)
    if not match or not _NAME.search(match[2]):
        return word
    return f"{match[1]}`{match[2]}`{match[3]}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells in Markdown."""
    lines = (" | ".join(cell.replace("|", "\\|") for cell in cells) for cells in rows)
    return "".join([f"| {' | '.join(heads)} |\n", f"|{'---|' * len(heads)}\n", *(f"| {line} |\n" for line in lines)])


def filled(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with each part between the two comments that mark its place.

    Raises:
        ValueError: the page has not exactly one place for each part.
    """
    places = [name for _, name, _ in _PART.findall(page)]
    if sorted(places) != sorted(parts):
        raise ValueError(f"places for {sorted(places)}, but parts {sorted(parts)}")
    return _PART.sub(lambda place: f"{place[1]}\n{parts[place[2]].strip()}\n\n{place[3]}", page)
