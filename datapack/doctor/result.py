"""What a check found: a mark, one line, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mark = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Result:
    """The result of one check. A note is for the user to judge; with a problem, something does not work here."""

    check: str
    mark: Mark
    found: str
    fix: str = ""  # the next step; empty if all is well


def ok(check: str, found: str) -> Result:
    """Make the result of a check that found what datapack needs."""
    return Result(check, "ok", found)


def note(check: str, found: str, fix: str) -> Result:
    """Make the result of a check that found something to know."""
    return Result(check, "note", found, fix)


def problem(check: str, found: str, fix: str) -> Result:
    """Make the result of a check that found what does not work."""
    return Result(check, "problem", found, fix)
