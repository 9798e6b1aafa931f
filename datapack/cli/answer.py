"""What a command gives back: one JSON document for programs, and the same as lines for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.cli.output import Line
    from datapack.errors import DatapackError


@dataclass(frozen=True)
class Answer:
    """The answer of a command that did what it was asked to do."""

    value: dict[str, Any]  # for --json: a dictionary, so that a key can be added later
    lines: Sequence[Line]  # without --json
    status: int = 0  # the exit status: 1 if the command did its work and found something wrong


def failure(error: DatapackError) -> dict[str, Any]:
    """Return an error for --json: the line that people see, its parts, its further lines and the exit status."""
    parts = {name: _text(getattr(error, name)) for name in ("what", "where", "expected", "found", "fix")}
    return {"error": {"message": str(error), **parts, "details": list(error.details), "status": error.exit_code}}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
