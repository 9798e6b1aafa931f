"""Output: every line passes here, so that no file name or other foreign text can add a line or change one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from datapack.errors import shown

if TYPE_CHECKING:
    from typing import TextIO


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines on standard output, or on ``file``."""
    for line in lines:
        print(shown(line), file=file)


def say_text(text: str) -> None:
    """Print a text of several lines."""
    say(*text.split("\n"))


def complain(*lines: str) -> None:
    """Print lines on standard error."""
    say(*lines, file=sys.stderr)


def show_warning(message: Warning | str, *_: object) -> None:
    """Print a warning of a library in one line, for `warnings.showwarning`."""
    complain(f"warning: {' '.join(str(message).split())}")
