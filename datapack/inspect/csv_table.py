"""A CSV or TSV file: its columns, their types, and how many values they lack. It is read once, a few rows at a time."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO

from datapack.download.content import WrongContentError, check_content
from datapack.inspect.model import Column, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_DELIMITERS = ",;\t|"
_SAMPLE = 1 << 16  # bytes from which the encoding and the delimiter are found
_SAMPLE_ROWS = 50
_LONGEST_LINE = 1 << 24  # characters of a line, and of a value: more would be no table, and fill the memory
_MOST_COLUMNS = 100_000
_BATCH_VALUES, _BATCH_CHARACTERS = 1 << 17, 1 << 21  # taken at once

_WORDS = ("", "na", "n/a", "nan", "null", "none", "nil", "<na>", "#n/a", "-", ".", "?", " ")
_MISSING = frozenset(form(word) for word in _WORDS for form in (str, str.upper, str.title)) | {"NaN"}
_VALUE = re.compile(
    r"\s*+(?:(?P<whole>[+-]?(?:0|[1-9][0-9]*+))"  # not 007: what begins so is a name
    r"|(?P<number>[+-]?(?:(?:0|[1-9][0-9]*+)(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?[iI]nf(?:inity)?)"
    r"|(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,]{4,15}(?:Z|[+-][0-9:]{2,6})?)?"
    r"|[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{4})"
    r"|(?P<truth>true|false|True|False|TRUE|FALSE))\s*+"
)
_TYPES = {
    frozenset[str](): "empty",
    frozenset({"whole"}): "whole number",
    frozenset({"number"}): "number",
    frozenset({"whole", "number"}): "number",
    frozenset({"date"}): "date",
    frozenset({"truth"}): "true or false",
}
_TEXT = "text"


def read_csv(
    file: BinaryIO, path: str, *, prefer_tabs: bool = False, progress: Callable[[], None] = lambda: None
) -> Table:
    """Read a table. What can't be read ends the reading: the result has the rows before it, and the problem.

    Args:
        file: open for reading.
        path: its path in the payload.
        prefer_tabs: whether tabs divide the values if other characters could as well.
        progress: called from time to time.
    """
    try:
        sample = file.read(_SAMPLE)
        if why := _no_text(sample):
            return Table(path, 0, (), problem=why)
        encoding = _encoding(sample)
        delimiter = _delimiter(sample.decode(encoding, "replace"), "\t" if prefer_tabs else ",")
        file.seek(0)
    except ValueError as error:
        return Table(path, 0, (), problem=str(error))
    csv.field_size_limit(_LONGEST_LINE)
    # What is not UTF-8 is Latin-1 or alike: only names of columns have to be legible.
    text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
    lines = _Lines(text)
    counted = _Counted(lines, csv.reader(lines, delimiter=delimiter))
    problem = ""
    try:
        counted.read(progress)
    except (csv.Error, ValueError) as error:
        problem = f"line {counted.line + 1:,}: {_plain(error)}"
    finally:
        text.detach()
    return counted.table(path, problem)


def _plain(error: Exception) -> str:
    if isinstance(error, csv.Error) and "limit" in str(error):
        return "a value of more than 16 million characters, or a quote that is never closed"
    if isinstance(error, UnicodeError):
        return "not text in UTF-16"
    return str(error)


def _no_text(sample: bytes) -> str:
    """Say why a file that begins with these bytes is no text; nothing if it is."""
    try:
        check_content(io.BytesIO(sample), "x")
    except WrongContentError as error:
        return str(error)
    if sample.startswith(b"PK\x03\x04"):
        return "a ZIP file, as spreadsheets are, and not text"
    return "not text" if b"\0" in sample and _encoding(sample) == "utf-8" else ""


def _encoding(sample: bytes) -> str:
    """Return the encoding: that of a byte order mark, UTF-16 if every other byte is 0, or UTF-8."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if sample.startswith(mark):
            return name
    start = sample[:1000]
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = start[first::2].count(0)
        if zeros and zeros * 4 > len(start) and not start[1 - first :: 2].count(0):
            return name
    return "utf-8"


def _delimiter(sample: str, preferred: str) -> str:
    """Return the character that divides the first rows into the most values, and into equally many."""
    lines = sample.splitlines(keepends=True)[: _SAMPLE_ROWS + 1]
    lines = lines[:-1] or lines  # the last one may be cut off
    best, best_score = preferred, (0.0, False)
    for delimiter in _DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        width, times = Counter(widths).most_common(1)[0] if widths else (1, 0)
        score = (width * (times / len(widths)) ** 2 if width > 1 else 0.0, delimiter == preferred)
        if score > best_score:
            best, best_score = delimiter, score
    return best


class _Lines:
    """The lines of a text, and how many characters of them are read."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the lines; raise `ValueError` for one that would fill the memory."""
        while line := self._text.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE and not line.endswith(("\n", "\r")):
                raise ValueError("a line of more than 16 million characters")
            self.read += len(line)
            yield line


class _Counted:
    """Counts the rows of a table, and what its columns hold."""

    def __init__(self, lines: _Lines, reader: Iterator[list[str]]) -> None:
        self._lines, self._reader = lines, reader
        self._names: list[str] = []
        self._missing: list[int] = []
        self._kinds: list[set[str]] = []
        self._rows = self._ragged = self._first_ragged = self.line = 0
        self._has_header = True

    def read(self, progress: Callable[[], None]) -> None:
        """Read all rows.

        Raises:
            csv.Error: a value is too long.
            ValueError: a line or the table is too wide, or the file can't be unpacked.
        """
        batch: list[list[str]] = []
        try:
            self._begin(next((row for row in self._reader if row), []))
            width = len(self._names)
            most, until = max(1, _BATCH_VALUES // max(1, width)), self._lines.read + _BATCH_CHARACTERS
            for row in filter(None, self._reader):  # not the empty lines
                batch.append(row if len(row) == width else self._mend(row))
                if len(batch) >= most or self._lines.read >= until:
                    self._count(batch)
                    batch, until = [], self._lines.read + _BATCH_CHARACTERS
                    progress()
        finally:
            self.line = self._reader.line_num  # type: ignore[attr-defined]
            self._count(batch)

    def table(self, path: str, problem: str) -> Table:
        """Return what was read."""
        types = (_TYPES.get(frozenset(kinds), _TEXT) for kinds in self._kinds)
        columns = tuple(map(Column, self._names, types, self._missing))
        return Table(path, self._rows, columns, self._ragged, self._first_ragged, self._has_header, problem)

    def _begin(self, first: Sequence[str]) -> None:
        """Take the first row: names, unless all its values are numbers."""
        if len(first) > _MOST_COLUMNS:
            raise ValueError(f"{len(first):,} columns, and a table may have at most {_MOST_COLUMNS:,}")
        kinds = _kinds({*first} - _MISSING)
        self._has_header = not kinds or not kinds <= {"whole", "number"}
        self._names = [_legible(name.strip()) if self._has_header else "" for name in first]
        self._missing = [0] * len(first)
        self._kinds = [set() for _ in first]
        if not self._has_header:
            self._count([list(first)])

    def _mend(self, row: list[str]) -> list[str]:
        """Note a row of another length, and give it that of the others."""
        self._ragged += 1
        self._first_ragged = self._first_ragged or self._reader.line_num  # type: ignore[attr-defined]
        width = len(self._names)
        return row[:width] + [""] * (width - len(row))

    def _count(self, batch: Sequence[Sequence[str]]) -> None:
        self._rows += len(batch)
        for place, values in enumerate(zip(*batch, strict=True)):
            different = set(values)
            missing = _MISSING & different
            self._missing[place] += sum(map(values.count, missing))
            if _TEXT not in self._kinds[place]:
                self._kinds[place] |= _kinds(different - missing)


def _kinds(values: set[str]) -> set[str]:
    """Return what some values are: whole, number, date, truth or text."""
    found = [match.lastgroup for match in map(_VALUE.fullmatch, values) if match]
    return {str(kind) for kind in set(found)} | ({_TEXT} if len(found) < len(values) else set())


def _legible(name: str) -> str:
    """Return a name whose bytes are not UTF-8 as Latin-1 reads them."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:  # half of a pair of UTF-16
        return name.encode("utf-8", "replace").decode("utf-8")
