"""Progress and notes of long operations.

The library only calls a `Reporter`; `datapack.cli` decides where the output goes. Progress is a bar on a terminal and
an occasional line elsewhere, so that log files stay readable.
"""

from __future__ import annotations

import enum
import os
import sys
import threading
import time
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from datapack.errors import shown
from datapack.text import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Console", "Level", "Reporter", "Silent", "is_terminal", "size", "takes_colour"]


class Level(enum.IntEnum):
    """How much is shown."""

    QUIET = 0  # warnings
    NORMAL = 1  # notes and progress too
    VERBOSE = 2  # details too, and how long each step took


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which a line can change."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def takes_colour(stream: TextIO) -> bool:
    """Whether to write in colour: on a terminal that can, and where ``NO_COLOR`` does not forbid it (no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


class Reporter(Protocol):
    """Receives notes, warnings and progress."""

    def note(self, text: str) -> None:
        """Show one line that the user should see."""

    def detail(self, text: str) -> None:
        """Show one line to a user who asked for more than the notes."""

    def warn(self, text: str) -> None:
        """Show lines that nobody should miss."""

    def progress(self, label: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show progress towards ``total`` units (``"B"`` for bytes); yield the function that advances it."""


class Silent:
    """Shows nothing: the default for users of the library."""

    def note(self, text: str) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    @contextmanager
    def progress(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        yield lambda _: None


class Console:
    """Writes to standard error: progress bars on a terminal, lines elsewhere. No text can add a line of its own."""

    def __init__(self, stream: TextIO | None = None, level: Level = Level.NORMAL) -> None:
        self.stream, self.level = stream or sys.stderr, level

    def note(self, text: str) -> None:
        if self.level >= Level.NORMAL:
            self._write_line(shown(text))

    def detail(self, text: str) -> None:
        if self.level >= Level.VERBOSE:
            self._write_line(shown(text))

    def warn(self, text: str) -> None:
        lines = [shown(line) for line in text.split("\n")]
        rule = "!" * (max(map(len, lines)) + 6)
        box = "\n".join([rule, *(f"!! {line.ljust(len(rule) - 6)} !!" for line in lines), rule])
        self._write_line(f"\033[1;31m{box}\033[0m" if takes_colour(self.stream) else box)

    def _write_line(self, line: str) -> None:
        self.stream.write(f"{line}\n")
        self.stream.flush()

    @contextmanager
    def progress(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        if self.level < Level.NORMAL:
            yield lambda _: None
            return
        started = time.monotonic()
        with self._bar(label, total, unit) if is_terminal(self.stream) else self._lines(label, total, unit) as advance:
            yield advance
        self.detail(f"{label}: {time.monotonic() - started:.1f} s")

    @contextmanager
    def _lines(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        yield _Lines(self, label, total, unit).advance

    @contextmanager
    def _bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        from tqdm import tqdm

        lock = threading.Lock()
        with tqdm(total=total, desc=shown(label), unit=unit, unit_scale=True, file=self.stream, leave=False) as bar:

            def advance(done: int) -> None:
                with lock:
                    bar.update(done)

            yield advance


class _Lines:
    """Prints a line for each tenth of the total: at most one every two seconds, at least one a minute."""

    def __init__(self, console: Console, label: str, total: int, unit: str) -> None:
        self.console, self.label, self.total, self.unit = console, label, max(total, 1), unit
        self.done, self.started = 0, time.monotonic()
        self.shown, self.shown_at = 0, self.started
        self.lock = threading.Lock()

    def advance(self, done: int) -> None:
        with self.lock:
            self.done += done
            now, tenth = time.monotonic(), self.done * 10 // self.total
            quiet = now - self.shown_at
            if (tenth > self.shown and quiet > 2) or quiet > 60:  # noqa: PLR2004 - seconds, see the class
                self.shown, self.shown_at = tenth, now
                self.console.note(f"{self.label}: {self._amount()}, {now - self.started:.0f} s")

    def _amount(self) -> str:
        percent = min(100, self.done * 100 // self.total)
        if self.unit == "B":
            return f"{percent} %, {size(self.done)} of {size(self.total)}"
        return f"{percent} %, {self.done:,} of {self.total:,} {self.unit}"
