"""The record as Markdown: every foreign text is a cell of a table, and no character of it is markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from datapack.errors import shown
from datapack.ingress.sections import Blank, Code, Link, Section, Values, sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from datapack.ingress.record import Record
    from datapack.ingress.sections import Value

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|~&$])")
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")
_BLANK = "________________"


def markdown(record: Record) -> str:
    """Return the record in Markdown, as GitHub and GitLab show it."""
    return "\n".join(_lines(record))


def _lines(record: Record) -> Iterator[str]:
    yield f"# Ingress record: {escaped(record.title)}\n"
    if record.blank:
        yield f"**Draft.** To be filled in: {', '.join(map(code, record.blank))}.\n"
    for section in sections(record):
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    yield f"## {escaped(section.title)}\n"
    if section.text:
        yield f"{escaped(section.text)}\n"
    if section.facts:
        yield from table(("", ""), [((name,), values) for name, values in section.facts])
    if section.rows:
        yield from table(section.heads, section.rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[Values]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(map(escaped, heads))} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join('<br>'.join(map(_cell, values)) for values in row)} |"
    yield ""


def _cell(value: Value) -> str:
    match value:
        case Code():
            return code(value.text)
        case Link():
            return f"<{value.url}>" if _PLAIN_URL.fullmatch(value.url) else escaped(value.url)
        case Blank():
            return _BLANK
    return escaped(value)


def escaped(text: str) -> str:
    r"""Return a text in one line, in which no character is markup; control characters are spelled out.

    ``<b>`` becomes ``\<b\>``. Characters that are markup only at the start of a line stay: no foreign text is there.
    """
    return _MARKUP.sub(r"\\\1", shown(" ".join(text.split())))


def code(text: str) -> str:
    """Return a text in a fixed width; one with a character that would end that is escaped instead."""
    plain = shown(" ".join(text.split()))
    if not plain:
        return ""
    if "`" in plain or plain.endswith("\\"):
        return escaped(plain)
    return f"`{plain}`".replace("|", "\\|")
