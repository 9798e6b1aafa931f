"""The settings of a rehearsal: an amount of memory, and the files of ``--env-file`` and ``--arg-file``."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from datapack.errors import UsageError
from datapack.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AMOUNT = "a number of bytes with an optional unit k, m, g or t, such as 4g"

_LIMIT = 4 << 20  # bytes of a file with arguments
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}  # as docker and podman count


def parse_bytes(text: str) -> int:
    """Read an amount of memory as docker and podman do, ``4g``; raise `ValueError` with what is expected."""
    match = _AMOUNT.fullmatch(text.strip())
    if not match or not (amount := int(float(match[1]) * _FACTORS[match[2].lower()])):
        raise ValueError(AMOUNT)
    return amount


def show_bytes(amount: int) -> str:
    """Write an amount of memory as `parse_bytes` reads it: ``4g``."""
    unit = next(unit for unit in ("t", "g", "m", "k", "") if amount % _FACTORS[unit] == 0)
    return f"{amount // _FACTORS[unit]}{unit}"


def parse_variable(text: str) -> list[str]:
    """Read ``KEY=VALUE``, or ``KEY`` for its value in this environment; return an empty list if it has none here.

    Raises:
        ValueError: with what is expected.
    """
    key, equals, _ = text.partition("=")
    if not key or any(letter.isspace() for letter in key):
        raise ValueError("KEY=VALUE, with no space in KEY")
    if equals:
        return [text]
    return [f"{key}={os.environ[key]}"] if key in os.environ else []


def read_env_file(path: Path) -> list[str]:
    """Read a file of environment variables as docker and podman do: one per line, values unchanged, no quoting.

    Raises:
        UsageError: the file can't be read, or a line is malformed; the error names the line.
    """
    variables = []
    for number, line in read_lines(path):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                variables += parse_variable(line.lstrip())
            except ValueError as error:
                raise UsageError(
                    "not an environment variable", where=f"{path}:{number}", expected=error, found=repr(line)
                ) from error
    return variables


def read_words(path: Path) -> Iterator[tuple[int, str]]:
    """Read the words of a file, each with its line number. Quotes and comments (#) are those of a shell.

    Raises:
        UsageError: the file can't be read, or a quotation is not closed; the error names the line.
    """
    for number, line in read_lines(path):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(
                "can't be split into words",
                where=f"{path}:{number}",
                found=error,
                fix="close the quotation on the same line",
            ) from error
        yield from ((number, word) for word in words)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file, each with its number; raise `UsageError` if it can't be read."""
    try:
        text = read_limited(path, _LIMIT, UsageError).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("not text in UTF-8", where=path) from error
    yield from enumerate(text.splitlines(), start=1)
