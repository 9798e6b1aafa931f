"""Output: every line passes here, so that no file name or other foreign text can add a line or change one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from datapack.errors import shown
from datapack.progress import takes_colour

if TYPE_CHECKING:
    from typing import TextIO

Colour = Literal["green", "red", "yellow"]
_CODES: dict[Colour, int] = {"green": 32, "red": 31, "yellow": 33}


@dataclass(frozen=True)
class Marked:
    """A line that starts with a word in a colour, on a terminal that shows colours."""

    mark: str
    colour: Colour
    rest: str


Line = str | Marked


def say(*lines: Line, file: TextIO | None = None) -> None:
    """Print lines on standard output, or on ``file``."""
    stream = file or sys.stdout
    for line in lines if stream else ():  # standard output may be closed
        print(_marked(line, stream) if isinstance(line, Marked) else shown(line), file=stream)


def say_json(value: dict[str, Any], file: TextIO | None = None) -> None:
    """Print one JSON document. It is ASCII: other characters are escaped, so any terminal can show it."""
    print(json.dumps(value, indent=2), file=file or sys.stdout)


def complain(*lines: Line) -> None:
    """Print lines on standard error."""
    say(*lines, file=sys.stderr)


def show_warning(message: Warning | str, *_: object) -> None:
    """Print a warning of a library in one line, for `warnings.showwarning`."""
    complain(f"warning: {' '.join(str(message).split())}")


def _marked(line: Marked, stream: TextIO) -> str:
    mark = shown(line.mark)
    if takes_colour(stream):
        mark = f"\033[1;{_CODES[line.colour]}m{mark}\033[0m"
    return f"{mark}{shown(line.rest)}"
