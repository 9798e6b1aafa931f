"""Checks of tables. No value of a table is known here, and none is shown."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from datapack.inspect.findings import Finding, Rule, some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.inspect.model import Survey, Table

UNREADABLE = Rule(
    "DP501",
    "error",
    "tables that can't be read",
    "Programs stop at them, or silently lose rows.",
    "Export or fetch the file again. For Parquet files, datapack needs pyarrow: pip install 'datapack[parquet]'.",
)
RAGGED = Rule(
    "DP502",
    "warning",
    "tables whose rows have different numbers of values",
    "A value that contains a delimiter is not quoted, or the file was cut off. Values end up in the wrong columns.",
    "Export the table again, with quotes around text.",
)
SAME_NAMES = Rule(
    "DP503",
    "warning",
    "tables with duplicate column names",
    "Programs keep only one of the columns, or rename the others.",
    "Give each column its own name.",
)
NO_NAMES = Rule(
    "DP504",
    "warning",
    "tables with unnamed columns",
    "Nobody can tell what they mean. An unnamed first column is often an index that pandas wrote.",
    "Name the columns, or write the table without its index.",
)
NO_ROWS = Rule(
    "DP505",
    "warning",
    "tables without rows",
    "A failed export often leaves only the header, or nothing.",
    "Export the table again, or leave it out.",
)
PERSONAL = Rule(
    "DP506",
    "note",
    "columns whose names suggest personal data",
    "Personal data needs a reason, and often an approval, before it is imported.",
    "Tell your data governance team which columns these are, or remove them. datapack looked at no values.",
)
NO_VALUES = Rule(
    "DP507",
    "note",
    "columns without values",
    "They hold nothing, or their values were lost.",
    "Remove them if nothing is missing.",
)

# Whole words, or words in a row, in the name of a column: in English, and in the forms that British records use.
_WORDS = (
    r"(?:first|last|middle|given|family|sur|fore|full|maiden|patient|person|participant|subject|user|contact|author)_?name"
    r"|surname|forename|initials|e_?mail(?:_?address)?|(?:tele)?phone(?:_?(?:number|no))?|mobile(?:_?(?:number|no))?|fax"
    r"|(?:nhs|chi|hospital|mrn|ni|nino|passport|ssn|social_security|national_insurance|driving_licen[cs]e)"
    r"_?(?:number|num|no|id)|nhsno|nhs|chi|mrn|ssn|nino|passport|date_?of_?birth|birth_?(?:date|day)|dob|birthday"
    r"|date_?of_?death|dod|post_?code|zip_?code|zip|(?:home_?|street_?|postal_?)?address(?:_?(?:line)?_?[0-9])?|street"
    r"|ip_?address|gender|sex|ethnicity|ethnic_?group|religion|sexual_?orientation|nationality|marital_?status"
    r"|diagnosis|icd_?10|gp_?(?:name|practice)|iban|sort_?code|credit_?card(?:_?(?:number|no))?|account_?(?:number|no)"
    r"|licen[cs]e_?plate|number_?plate|vehicle_?registration|face_?id|twitter|orcid|observer|recorded_?by|collector"
)
_PERSONAL = re.compile(rf"(?:\A|_)(?:{_WORDS})(?:_(?:code|id|number|no|text|[0-9]+))?\Z")
_LONGEST = 100  # characters of a name: a longer one is text, not a name


def check_tables(survey: Survey) -> Iterator[Finding]:
    """Check whether tables can be read, and their form."""
    broken = [table for table in survey.tables if table.problem]
    yield from some(UNREADABLE, [f"{t.path}: {t.problem}" for t in broken], files=[t.path for t in broken])
    yield from some(RAGGED, [_ragged(table) for table in survey.tables if table.ragged])
    sound = [table for table in survey.tables if not table.problem]
    twice = [(table, names) for table in sound if (names := _same_names(table))]
    yield from some(SAME_NAMES, [f"{table.path}: {', '.join(names)}" for table, names in twice])
    unnamed = [(table, count) for table in sound if (count := sum(not column.name for column in table.columns))]
    yield from some(NO_NAMES, [_unnamed(table, count) for table, count in unnamed])
    empty = [table.path for table in sound if not table.rows]
    yield from some(NO_ROWS, empty, files=empty)


def check_columns(survey: Survey) -> Iterator[Finding]:
    """Look for columns about people, and for columns that are empty."""
    columns = [(table, column) for table in survey.tables for column in table.columns]
    personal = [f"{table.path}: {column.name}" for table, column in columns if _is_personal(column.name)]
    yield from some(PERSONAL, personal)
    empty = [
        f"{table.path}: {column.name or 'a column without a name'}"
        for table, column in columns
        if table.rows and column.missing == table.rows
    ]
    yield from some(NO_VALUES, empty)


def _ragged(table: Table) -> str:
    return f"{table.path}: {table.ragged:,} of {table.rows:,} rows, the first in line {table.first_ragged:,}"


def _unnamed(table: Table, count: int) -> str:
    return f"{table.path}: {count:,} of {len(table.columns):,}" + ("" if table.has_header else ": it has no header")


def _same_names(table: Table) -> list[str]:
    counts = Counter(column.name for column in table.columns if column.name)
    return [name for name, count in counts.items() if count > 1]


def _is_personal(name: str) -> bool:
    if len(name) > _LONGEST:
        return False
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)  # dateOfBirth
    return bool(_PERSONAL.search(re.sub(r"[^a-z0-9]+", "_", spaced.lower())))


RULES = (UNREADABLE, RAGGED, SAME_NAMES, NO_NAMES, NO_ROWS, PERSONAL, NO_VALUES)
CHECKS = (check_tables, check_columns)
