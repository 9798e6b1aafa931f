"""Patterns of file names, for ``exclude:`` in the catalog.

A pattern is matched against a file's path below its source. One without a slash matches a name in any folder; one with
a slash matches the path from the source's top. ``*`` and ``?`` match anything but a slash, ``[ab]`` one of these
characters, ``[!ab]`` any other, ``**`` any number of folders. A pattern that matches a folder matches everything in it.
Upper and lower case differ.
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOKEN = re.compile(r"\[!?+[^/][^\]/]*\]|.", re.DOTALL)
_WILD = frozenset("*?[")
_ANY = "[^/]"
_FOLDERS = "(?:[^/]+/)*"


def check_pattern(pattern: str) -> str:
    """Return a pattern if it can match a path; raise `ValueError` if not."""
    if not pattern.strip("/") or pattern.startswith(("/", "!")) or {"", ".", ".."} & {*pattern.rstrip("/").split("/")}:
        raise ValueError("not a pattern of names: expected one such as .DS_Store, *.bak or raw/**/*.tmp")
    try:
        re.compile(_translate(pattern))
    except re.error as error:
        raise ValueError(f"not a pattern of names: {error.msg}") from error
    return pattern


def is_pattern(name: str) -> bool:
    """Whether a name may stand for several."""
    return not _WILD.isdisjoint(name)


class Patterns:
    """The patterns of one source, and which of them matched nothing so far."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._each = {pattern: re.compile(_translate(pattern)) for pattern in patterns}
        self.unused = set(self._each)

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return re.compile("|".join(regex.pattern for regex in self._each.values()) or r"(?!)")

    def match(self, path: str) -> bool:
        """Whether a file or folder, by its path below the source, matches any of the patterns."""
        with_slash = f"{path}/"
        if not self._any.match(with_slash):
            return False
        self.unused -= {pattern for pattern in self.unused if self._each[pattern].match(with_slash)}
        return True


def _translate(pattern: str) -> str:
    """Return a regular expression that matches the beginning of a path in which every part ends in a slash."""
    parts = pattern.rstrip("/").split("/")
    if len(parts) == 1:
        parts = ["**", *parts]
    parts = [part for before, part in pairwise(["", *parts]) if not before == part == "**"]
    return "".join(_FOLDERS if part == "**" else f"{_translate_part(part)}/" for part in parts)


def _translate_part(part: str) -> str:
    """Translate a name. What follows a star is matched where it first occurs and no further on, so time is short."""
    first, *others = ["".join(tokens) for tokens in _split(map(_translate_token, _TOKEN.findall(part)))]
    if not others:
        return first
    return "".join((first, *(f"(?>{_ANY}*?{piece})" for piece in others[:-1]), f"{_ANY}*{others[-1]}"))


def _split(tokens: Iterable[str]) -> list[list[str]]:
    """Divide translated tokens at each star."""
    pieces: list[list[str]] = [[]]
    for letter in tokens:
        if letter == "*":
            pieces.append([])
        else:
            pieces[-1].append(letter)
    return pieces


def _translate_token(letter: str) -> str:
    if letter == "*":
        return letter
    if len(letter) == 1:
        return _ANY if letter == "?" else re.escape(letter)
    negated = letter.startswith("[!")
    letters = re.sub(r"([\\\[\]^&~|])", r"\\\1", letter[1 + negated : -1])
    return f"(?!/)[{'^' if negated else ''}{letters}]"
