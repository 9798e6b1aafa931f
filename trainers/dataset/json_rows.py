"""Read the lists of a JSON object row by row: a COCO file needs ten times its size in memory if it is parsed whole."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Add = Callable[[Any], None]

_SPACE = re.compile(r"[ \t\n\r]*")
_SHOWN = 40  # characters of the text, or of a key, in an error


def to_text(content: bytes, where: object) -> str:
    """Decode the bytes of a JSON file; raise `TrainingError` if they are no text."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainingError("not a JSON file", where=where, expected="UTF-8", found=f"byte {error.start:,}") from error


def read_rows(text: str, lists: Mapping[str, Add], where: object) -> set[str]:
    """Pass each row of some lists of a JSON object to a function. Other values are parsed and dropped.

    Args:
        text: JSON, an object.
        lists: the function for each list by its key; it raises `ValueError` or `KeyError` for an invalid row.
        where: where the text is from, for errors.

    Returns:
        The keys of the object.

    Raises:
        TrainingError: it is not JSON, not an object, or a row is invalid; the error names the row.
    """
    parser = _Parser(text, where)
    try:
        return parser.document(lists)
    except json.JSONDecodeError as error:
        found = repr(text[error.pos : error.pos + _SHOWN]) if text[error.pos :].strip() else "the end of the file"
        raise TrainingError("not a JSON file", where=f"{parser.place}: line {error.lineno}", found=found) from error
    except RecursionError as error:
        raise TrainingError("not a JSON file", where=parser.place, found="brackets nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise TrainingError("not a JSON file", where=parser.place, found=str(error).partition(";")[0]) from error


class _Parser:
    """Goes through a JSON text once."""

    def __init__(self, text: str, where: object) -> None:
        self.text, self.where, self.at = text, where, 0
        self.place = str(where)  # the file, and the row that is being read
        self.scan = json.JSONDecoder().raw_decode

    def document(self, lists: Mapping[str, Add]) -> set[str]:
        """Parse the object and pass on the rows of ``lists``; return its keys."""
        if self.next() not in {"{", ""}:
            self.value()
            raise TrainingError("not a COCO file", where=self.where, expected="an object with a list of 'images'")
        keys: set[str] = set()
        for _ in self.items("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise json.JSONDecodeError("no key", self.text, self.at)
            self.take(":")
            if key in keys:
                raise TrainingError(f"two entries have the key {key[:_SHOWN]!a}", where=self.where)
            keys.add(key)
            self.entry(key, lists.get(key))
        if self.next():
            raise json.JSONDecodeError("extra data", self.text, self.at)
        return keys

    def entry(self, key: str, add: Add | None) -> None:
        """Parse the value of a key; if it is a list, row by row."""
        if self.next() == "[":
            for number in self.items("[", "]"):
                self.place = f"{self.where}: {key[:_SHOWN]}[{number}]"
                row = self.value()
                if add is not None:
                    self.row(row, add)
        else:
            self.value()
            if add is not None:
                raise TrainingError(f"{key!a} is not a list", where=self.where)
        self.place = str(self.where)

    def row(self, row: Any, add: Add) -> None:
        """Pass on a row."""
        try:
            if not isinstance(row, dict):
                raise ValueError("no object")
            add(row)
        except (ValueError, KeyError) as error:
            found = f"no {error}" if isinstance(error, KeyError) else error
            raise TrainingError("invalid row", where=self.place, found=found) from error

    def items(self, first: str, last: str) -> Iterator[int]:
        """Yield the number of each item between two brackets; the caller reads the item."""
        self.take(first)
        if self.next() != last:
            yield 0
        number = 0
        while self.next() == ",":
            self.at += 1
            number += 1
            yield number
        self.take(last)

    def next(self) -> str:
        """Skip white space; return the next character, or nothing at the end."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr] # it matches the empty string
        return self.text[self.at : self.at + 1]

    def take(self, character: str) -> None:
        if self.next() != character:
            raise json.JSONDecodeError(f"no {character}", self.text, self.at)
        self.at += 1

    def value(self) -> Any:
        self.next()
        value, self.at = self.scan(self.text, self.at)
        return value
