"""Read a COCO file row by row: parsed whole, a file needs about ten times its size in memory."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from datapack.errors import FetchError
from datapack.files import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = 1 << 20  # characters per read
_LARGEST = 64 << 20  # characters of one value: one row, or everything under a key that has no list
_MARGIN = 16  # characters: a number, or an escaped character, may go on behind the end of a block
_SPACE = re.compile(r"[ \t\n\r]*")
_SHOWN = 40  # characters of the text in an error


class Row(NamedTuple):
    """A row of a list of a COCO file, such as ``images[3]``.

    Position -1 is the beginning of a key: the row is then the whole value, or an empty list whose rows follow.
    """

    key: str
    position: int
    value: Any


START = -1


def is_text(value: str) -> bool:
    """Whether a string has only characters: JSON can also hold half of one, which no file name and no URL can."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield each key of a COCO file, or of another JSON file with an object, and each row of its lists, in order.

    Raises:
        FetchError: it is not a JSON file, or not one with an object. Rows may have been yielded before.
    """
    return (row for row, _ in read_texts(path))


def read_texts(path: Path) -> Iterator[tuple[Row, str]]:
    """Yield what `read_rows` yields, each with its text in the file; that of a list is empty, as its rows follow.

    Raises:
        FetchError: it is not a JSON file, or not one with an object. Rows may have been yielded before.
    """
    with disk_errors(path), path.open(encoding="utf-8-sig") as file:
        reader = _Reader(file)
        try:
            yield from _read(reader, path)
        except json.JSONDecodeError as error:
            found = f"line {reader.line(error.pos)}: {reader.text[error.pos :][:_SHOWN]!r}"
            if not reader.text[error.pos :].strip() or error.msg.startswith("Unterminated"):
                found = "the end of the file, where more is expected"
            raise FetchError("not a JSON file", where=path, found=found) from error
        except RecursionError as error:
            raise FetchError("not a JSON file", where=path, found="lists or objects nested too deeply") from error
        except UnicodeDecodeError as error:
            raise FetchError("not a JSON file", where=path, expected="UTF-8") from error
        except ValueError as error:  # a number of thousands of digits
            raise FetchError("not a JSON file", where=path, found=str(error).partition(";")[0]) from error


def read_images(path: Path) -> Iterator[Any]:
    """Yield the rows of a COCO file's ``images``; the other rows are parsed, and dropped.

    Raises:
        FetchError: it is not a JSON file, or not a COCO file. Rows may have been yielded before.
    """
    lists = 0
    for key, position, value in read_rows(path):
        if key == "images" and position != START:
            yield value
        elif key == "images":
            lists += isinstance(value, list)
    if lists != 1:
        raise _no_coco(path, "two of them" if lists else None)


def _read(reader: _Reader, path: Path) -> Iterator[tuple[Row, str]]:
    is_object = reader.peek() == "{"
    for _ in reader.items("{", "}") if is_object else ():
        key = reader.value()
        if not isinstance(key, str):
            raise json.JSONDecodeError("no key", reader.text, reader.at)
        reader.take(":")
        if reader.peek() != "[":
            yield Row(key, START, reader.value()), reader.last
            continue
        yield Row(key, START, []), ""
        for position, _ in enumerate(reader.items("[", "]")):
            yield Row(key, position, reader.value()), reader.last
    if not is_object:
        reader.value()
    if reader.peek():
        raise json.JSONDecodeError("more", reader.text, reader.at)
    if not is_object:
        raise _no_coco(path)


def _no_coco(path: Path, found: str | None = None) -> FetchError:
    return FetchError("not a COCO file", where=path, expected="an object with a list 'images'", found=found)


class _Reader:
    """Goes through a JSON text once; ``text`` is the part of it in memory, ``at`` the place in that part."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._whole, self._lines = file, False, 1
        self.text, self.at, self._start = "", 0, 0
        self._scan = json.JSONDecoder().raw_decode

    @property
    def last(self) -> str:
        """The text of the last value, until more is read."""
        return self.text[self._start : self.at]

    def line(self, at: int) -> int:
        return self._lines + self.text.count("\n", 0, at)

    def items(self, first: str, last: str) -> Iterator[None]:
        """Yield for each item between two brackets; the caller reads the item."""
        self.take(first)
        if self.peek() != last:
            yield
            while self.peek() == ",":
                self.at += 1
                yield
        self.take(last)

    def peek(self) -> str:
        """Skip white space; return the next character, or nothing at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr] # it matches the empty string
            if self.at < len(self.text) or not self._read_on():
                return self.text[self.at : self.at + 1]

    def take(self, character: str) -> None:
        if self.peek() != character:
            raise json.JSONDecodeError(f"no {character}", self.text, self.at)
        self.at += 1

    def value(self) -> Any:
        """Parse the next value. A value that does not end in this part of the text is parsed again with more of it."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self.text, self.at)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos > len(self.text) - _MARGIN
                if not unfinished or not self._read_on():
                    raise
            else:
                if end <= len(self.text) - _MARGIN or not self._read_on():
                    self._start, self.at = self.at, end
                    return value

    def _read_on(self) -> bool:
        """Drop what was parsed, and read on: as much as is left, so that a long value is parsed only a few times."""
        if self._whole:
            return False
        left = len(self.text) - self.at
        if left > _LARGEST:
            raise ValueError(f"a value of over {_LARGEST:,} characters")
        block = self._file.read(max(_BLOCK, left))
        if block:
            self._lines += self.text.count("\n", 0, self.at)
            self.text, self.at = self.text[self.at :] + block, 0
        self._whole = not block
        return bool(block)
