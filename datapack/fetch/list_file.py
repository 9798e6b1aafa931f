"""Read a list of URLs row by row: CSV or TSV, whose columns are found by their names, or what ``sha256sum`` writes."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import quote

from datapack.catalog.sources.base import name_in_url
from datapack.catalog.sources.checksums import PUBLISHED, parse_checksum, parse_digits
from datapack.errors import FetchError
from datapack.files import open_regular
from datapack.hashing import DIGITS, Checksum
from datapack.urls import UrlError, check_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LONGEST = 1 << 20  # bytes of a line
_DELIMITERS = ("\t", ",", ";")
_COLUMNS = frozenset({"url", "path", "size", "checksum", *PUBLISHED})
_SUM = re.compile(r"(?P<escaped>\\?)(?P<digits>[0-9a-fA-F]{32,128}) [ *](?P<path>.+)")
_MOST_DIGITS = 18  # of a size
_SHOWN = 60  # characters of a foreign value in an error
_NO_CHECKSUM = Checksum()


class ListedFile(NamedTuple):
    """A row of a list, with the line that it begins in."""

    line: int
    url: str
    path: str
    checksum: Checksum
    size: int | None


def read_list(path: Path, name: str, base: str | None) -> Iterator[ListedFile]:
    """Yield the files that a list names.

    Args:
        path: the list.
        name: its path in the payload, for errors.
        base: the URL of the folder that its paths are in, for a list without URLs.

    Raises:
        FetchError: a line is wrong, with the list's name and the line's number.
    """
    with open_regular(path, FetchError) as file:
        lines = _Lines(file, name)
        first = next((text for text in lines if not _is_skipped(text)), None)
        if first is None:
            raise FetchError("the list is empty", where=name, expected="a line for each file")
        is_sums = _SUM.fullmatch(first.rstrip("\n")) is not None
        yield from _read_sums(lines, first, base) if is_sums else _read_table(lines, first, base)


class _Lines:
    """The lines of a file as text; ``number`` counts those that were read."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name, self.number = file, name, 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(_LONGEST + 1):
            self.number += 1
            if len(line) > _LONGEST:
                raise self.error(f"a line of over {_LONGEST:,} bytes")
            try:
                text = line.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise self.error("not UTF-8", fix="save the list as text in UTF-8") from error
            text = text.removesuffix("\n").removesuffix("\r")
            if "\r" in text:
                raise self.error("a line end that is no line feed", fix="save the list as text with line feeds")
            yield f"{text}\n"

    def error(
        self,
        what: str,
        number: int | None = None,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> FetchError:
        """Return an error about the last line, or about another one."""
        where = f"{self._name}:{self.number if number is None else number}"
        return FetchError(what, where=where, expected=expected, found=found, fix=fix)


def _is_skipped(text: str) -> bool:
    return text.isspace() or text.startswith("#")


def _read_sums(lines: _Lines, first: str, base: str | None) -> Iterator[ListedFile]:
    if base is None:
        raise lines.error("a list without URLs", expected="'base', the URL of the folder that its paths are in")
    text: str | None = first
    rest = iter(lines)
    while text is not None:
        if not _is_skipped(text):
            yield _parse_sum(lines, text.rstrip("\n"), base)
        text = next(rest, None)


def _parse_sum(lines: _Lines, text: str, base: str) -> ListedFile:
    found = _SUM.fullmatch(text)
    if not found:
        expected = "a hash, two spaces and a path, as sha256sum writes it"
        raise lines.error("not a line of checksums", expected=expected, found=f"{text[:_SHOWN]!r}")
    if found["escaped"]:
        raise lines.error("a file name with a backslash or a line feed", fix="rename the file")
    algorithm = next((name for name in PUBLISHED if DIGITS[name] == len(found["digits"])), None)
    if algorithm is None:
        digits = f"{len(found['digits'])} digits"
        raise lines.error(
            "a checksum of another length", expected="64 digits, or 40 of a sha1, 32 of an md5", found=digits
        )
    path = found["path"].removeprefix("./")
    return ListedFile(lines.number, base + quote(path), path, Checksum(algorithm, found["digits"].lower()), None)


def _read_table(lines: _Lines, first: str, base: str | None) -> Iterator[ListedFile]:
    columns, width, delimiter = _parse_header(lines, first, base)
    begun = 0  # the line that the present row begins in; 0 between rows

    def feed() -> Iterator[str]:
        nonlocal begun
        for text in lines:
            if begun or not _is_skipped(text):
                begun = begun or lines.number
                yield text

    rows = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            found = f"{error}" if "unexpected end" not in str(error) else "a quote that does not end"
            raise lines.error("not a row of the list", begun or None, found=found) from error
        if row is None:
            return
        if any(map(str.strip, row)):
            if len(row) > width:
                raise lines.error("more fields than the first line names", begun, expected=width, found=len(row))
            values = {name: row[place].strip() for name, place in columns.items() if place < len(row)}
            yield _parse_row(lines, begun, values, base)
        begun = 0


def _parse_header(lines: _Lines, first: str, base: str | None) -> tuple[dict[str, int], int, str]:
    """Return the places of known columns, the number of all, and what is between them."""
    splits = {delimiter: next(csv.reader([first], delimiter=delimiter)) for delimiter in _DELIMITERS}
    for delimiter, fields in splits.items():
        names = [re.sub(r"[\s_-]", "", field).lower() for field in fields]
        if twice := next((name for name in names if name in _COLUMNS and names.count(name) > 1), None):
            raise lines.error(f"two columns are called {twice}")
        if "url" in names or (base is not None and "path" in names):
            return {name: place for place, name in enumerate(names) if name in _COLUMNS}, len(names), delimiter
    fields = max(splits.values(), key=len)
    raise lines.error(
        "the first line names no column 'url'",
        expected="names of columns such as url, path, sha256, md5, checksum and size",
        found=", ".join(fields)[: 2 * _SHOWN].strip() or "nothing",
        fix=None if base else "a list of paths needs 'base', the URL of their folder",
    )


def _parse_row(lines: _Lines, line: int, values: Mapping[str, str], base: str | None) -> ListedFile:
    path, url = values.get("path", "").removeprefix("./"), values.get("url", "")
    if not url and "url" not in values and base is not None and path:
        url = base + quote(path)
    try:
        url = check_url(url) if url else ""
        checksum = _checksum(values)
    except UrlError as error:
        raise lines.error(str(error), line, expected="http://... or https://...") from error
    except ValueError as error:
        raise lines.error(str(error), line) from error
    path = path or name_in_url(url)
    if not url or not path:
        missing = "the row has no URL" if not url else "the URL does not end in a file name"
        raise lines.error(missing, line, fix="add a column 'path' with a name" if url else None)
    return ListedFile(line, url, path, checksum, _size(lines, line, values.get("size", "")))


def _checksum(values: Mapping[str, str]) -> Checksum:
    """Return the strongest checksum of a row; all of them must have the right form."""
    found = [parse_digits(name, values[name]) for name in PUBLISHED if values.get(name)]
    if values.get("checksum"):
        found.append(parse_checksum(values["checksum"]))
    return min(found, key=lambda checksum: PUBLISHED.index(checksum.algorithm), default=_NO_CHECKSUM)


def _size(lines: _Lines, line: int, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise lines.error("invalid size", line, expected="whole bytes", found=f"{text[:_SHOWN]!r}")
    return int(text)
