"""The record as a page to read and to print; see `datapack.page`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datapack.ingress.sections import Blank, Code, Link, sections
from datapack.page import render
from datapack.page.cells import code, name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from datapack.ingress.record import Record
    from datapack.ingress.sections import Value, Values

_TEMPLATE = Path(__file__).with_name("record.html.j2")
_LONGEST = 4000  # characters: a description may be long, and nothing of it may be missing from the record


class _Cell(NamedTuple):
    shown: Markup | str = ""
    link: str = ""
    blank: bool = False


def page(record: Record) -> str:
    """Return the page; the same record gives the same bytes."""
    shown = [
        {
            "title": section.title,
            "text": section.text,
            "facts": [(label, _cells(values)) for label, values in section.facts],
            "heads": section.heads,
            "rows": [_row(row) for row in section.rows],
        }
        for section in sections(record)
    ]
    return render(
        _TEMPLATE, record=record, title=name(record.title, _LONGEST), reference=code(record.reference), sections=shown
    )


def _row(row: Sequence[Values]) -> list[list[_Cell]]:
    return [_cells(values) for values in row]


def _cells(values: Values) -> list[_Cell]:
    return list(map(_cell, values))


def _cell(value: Value) -> _Cell:
    match value:
        case Blank():
            return _Cell(blank=True)
        case Code():
            return _Cell(code(value.text, _LONGEST))
        case Link():
            is_web = value.url.startswith(("https://", "http://"))
            return _Cell(name(value.url, _LONGEST), link=value.url if is_web else "")
    return _Cell(name(" ".join(value.split()), _LONGEST))  # a text of several lines is one paragraph
