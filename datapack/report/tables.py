"""CSV, TSV and Parquet files: their columns, types and missing values, never a value. Files alike are shown once."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.page.cells import Amount, Listing, code, name, share
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from datapack.inspect.model import Column, Table

MOST_FORMS, MOST_COLUMNS, MOST_UNREADABLE = 12, 60, 20


@dataclass(frozen=True)
class Form:
    """Tables that have the same columns."""

    example: Markup  # the path of the first of them
    others: int
    columns: Listing


@dataclass(frozen=True)
class Tables:
    """What the page says of tables."""

    summary: str
    forms: tuple[Form, ...]
    left_out: int  # forms
    unreadable: Listing


def summarise(tables: Sequence[Table]) -> Tables | None:
    """Group tables by their columns, the largest group first; None without tables."""
    if not tables:
        return None
    groups: defaultdict[tuple[bool, tuple[str, ...]], list[Table]] = defaultdict(list)
    for table in tables:
        if table.columns:
            groups[table.has_header, tuple(column.name for column in table.columns)].append(table)
    ordered = sorted(groups.values(), key=lambda group: (-len(group), -_rows(group), group[0].path))
    readable = sum(map(len, ordered))
    summary = f"{counted(readable, 'table')} with {counted(_rows(tables), 'row')} in all"
    if len(ordered) == 1 and readable > 1:
        summary += ", all with the same columns: they can be read as one"
    elif len(ordered) > 1:
        summary += f", in {counted(len(ordered), 'form')}: tables of one form have the same columns"
    forms = tuple(map(_form, ordered[:MOST_FORMS]))
    return Tables(f"{summary}.", forms, len(ordered) - len(forms), _unreadable(tables))


def _rows(tables: Sequence[Table]) -> int:
    return sum(table.rows for table in tables)


def _form(group: Sequence[Table]) -> Form:
    rows = _rows(group)
    columns = []
    for place, column in enumerate(group[0].columns[:MOST_COLUMNS]):
        kinds = Counter(table.columns[place].type for table in group)
        columns.append((name(column.name), _kinds(kinds), *_missing([table.columns[place] for table in group], rows)))
    left = len(group[0].columns) - len(columns)
    summary = f"{counted(len(group), 'table')}, {counted(rows, 'row')}, {counted(len(group[0].columns), 'column')}"
    if ragged := sum(table.ragged for table in group):
        summary += f", {counted(ragged, 'row')} with another number of values"
    if not group[0].has_header:
        summary += ", no header"
    heads = ("Column", "Type", "Missing values", "of all rows")
    listing = Listing(f"Columns: {summary}", heads, columns, f"And {counted(left, 'more column')}." if left else "")
    return Form(code(group[0].path), len(group) - 1, listing)


def _missing(columns: Sequence[Column], rows: int) -> tuple[Amount, Amount]:
    """Return the number and the share of the values that one column has not in any of the tables."""
    if any(column.missing < 0 for column in columns):
        return Amount("not known", -1), Amount("not known", -1)
    missing = sum(column.missing for column in columns)
    return Amount(f"{missing:,}", missing), Amount(share(missing, rows), missing)


def _kinds(kinds: Counter[str]) -> Markup:
    """Return the type of a column, or its types with the number of tables that have each."""
    ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    if len(ordered) == 1:
        return name(ordered[0], 40)
    return name(", ".join(f"{kind} ({kinds[kind]:,})" for kind in ordered[:5]), 120)


def _unreadable(tables: Sequence[Table]) -> Listing:
    wrong = [table for table in tables if table.problem]
    rows = [(code(table.path), name(table.problem, 200)) for table in wrong[:MOST_UNREADABLE]]
    left = len(wrong) - len(rows)
    more = f"And {counted(left, 'more table')}." if left else ""
    return Listing("Tables with a problem", ("File", "Problem"), rows, more)
