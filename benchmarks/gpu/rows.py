"""The rows of the table: each part prints its own as it goes, so that a part that is stopped keeps what it has."""

from __future__ import annotations

import contextlib
import json
import traceback
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

State = Literal["ok", "failed", "measured", "not measured"]

_MARK = "ROW "  # begins a line that is a row; every other line of a part is its log
NO_GPU = "not measured: no GPU"


@dataclass(frozen=True)
class Row:
    """One figure or one check."""

    what: str
    found: str
    state: State = "measured"
    values: dict[str, Any] = field(default_factory=dict)  # the numbers behind `found`, for the JSON file

    @classmethod
    def check(cls, what: str, found: str, passed: bool, /, **values: Any) -> Row:
        """Make the row of a check."""
        return cls(what, found, "ok" if passed else "failed", values)

    @classmethod
    def parse(cls, line: str) -> Row | None:
        """Return the row that a line of a part's output is, if it is one."""
        return cls(**json.loads(line[len(_MARK) :])) if line.startswith(_MARK) else None

    def emit(self) -> None:
        """Print the row for the process that collects them."""
        print(_MARK + json.dumps(asdict(self)), flush=True)


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """If the body fails, print the traceback, and a row that says so; the next one goes on."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        why = (str(error) or type(error).__name__).splitlines()[0][:200]
        Row(what, f"{type(error).__name__}: {why}", "failed").emit()


def markdown(title: str, parts: dict[str, list[Row]]) -> str:
    """Return the table of all parts."""
    lines = [title, "", "| Part | What | Found | |", "|---|---|---|---|"]
    for part, rows in parts.items():
        for row in rows:
            state = "" if row.state == "measured" else row.state
            lines.append(f"| {part} | {_cell(row.what)} | {_cell(row.found)} | {state} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
