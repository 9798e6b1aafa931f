"""Which columns of a CSV file the readers of Croissant can read, and as what: they know UTF-8, commas and tabs.

The checks of datapack read more: other encodings and delimiters, decimal commas, several words for a missing value.
What they found is described only as far as the simple readers find the same, since a record must not fail.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from itertools import islice
from typing import TYPE_CHECKING, cast

from datapack.errors import BagError
from datapack.files import open_regular
from datapack.inspect.model import Column
from datapack.metadata.media_types import PARQUET, TSV, table_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from datapack.inspect.model import Table

_BATCH = 10_000  # rows
_LONGEST = 1 << 24  # characters of a value, as in the checks
# The words for a missing value that pandas knows.
_OF_EXCEL = ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN")
_MISSING = frozenset(("", *_OF_EXCEL, "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"))
_FORMS = {
    "whole number": re.compile(r"[+-]?[0-9]{1,18}"),
    "number": re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?[iI]nf(?:inity)?"),
    "true or false": re.compile("true|false|True|False|TRUE|FALSE"),
}


def readable_columns(path: Path, table: Table) -> tuple[Column, ...]:
    """Return the columns of a table that a simple reader finds too; none if it can't read the table.

    Args:
        path: the file.
        table: what the checks of datapack found in it.
    """
    kind = table_type(table.path)
    if table.problem or table.ragged or not table.has_header:
        return ()
    if kind == PARQUET:
        return table.columns
    try:
        with open_regular(path, BagError, follow=False) as file, _unpacked(file) as unpacked:
            return _columns(unpacked, table, "\t" if kind == TSV else ",")
    except (UnicodeError, csv.Error, EOFError, zlib.error, gzip.BadGzipFile):
        return ()


def _unpacked(file: BinaryIO) -> BinaryIO:
    """Return the content of a file that may be compressed; the checks have limited how large that can be."""
    is_packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if is_packed else file


def _columns(file: BinaryIO, table: Table, delimiter: str) -> tuple[Column, ...]:
    csv.field_size_limit(_LONGEST)
    with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter)
        if next((row for row in reader if row), None) != [column.name for column in table.columns]:
            return ()
        types = [column.type for column in table.columns]
        while batch := list(islice(reader, _BATCH)):
            types = _narrow(types, zip(*filter(None, batch), strict=True))
    return tuple(Column(old.name, found, old.missing) for old, found in zip(table.columns, types, strict=True))


def _narrow(types: Sequence[str], columns: Iterable[Sequence[str]]) -> list[str]:
    """Return the types again, and text in place of one that a value does not fit."""
    return [
        name if name not in _FORMS or all(map(_FORMS[name].fullmatch, {*values} - _MISSING)) else "text"
        for name, values in zip(types, columns, strict=True)
    ]
