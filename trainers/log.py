"""The log of a run: on standard output, the only output of a job in the Safe Haven, and in the run's `log.txt`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from datapack.errors import brief, shown
from datapack.hashing import regular_opener
from datapack.progress import Console, Silent
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Log(Console):
    """A console that adds the time to each line and, once there is a run, also writes to a file.

    Progress is a bar on a terminal and occasional lines elsewhere. With ``quiet``, as in all processes of a training
    but the first, nothing is logged.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        super().__init__(stream or sys.stdout)
        self.quiet = quiet
        self._said: list[str] = []  # lines from before there was a file
        self._file: TextIO | None = None
        self._path: Path | None = None

    def note(self, text: str) -> None:
        """Log a line."""
        if not self.quiet:
            self._write(f"{time.strftime('%H:%M:%S')}  {shown(brief(text))}")

    @contextlib.contextmanager
    def progress(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show progress towards ``total`` units; yield the function that advances it."""
        shown = Silent().progress(label, total, unit) if self.quiet else super().progress(label, total, unit)
        with shown as advance:
            yield advance

    def last(self, text: str) -> None:
        """Print the last line of the job: how it ended, without the time, so that it is easy to find."""
        if not self.quiet:
            super().note(text)
            self._give_up()

    def keep(self, path: Path) -> None:
        """Also append everything, earlier lines included, to the file ``path``.

        Raises:
            TrainingError: it can't be written, or is no regular file: a FIFO would wait for its reader.
        """
        if self.quiet or self._file is not None:
            return
        try:
            self._file, self._path = _appending(path), path
            self._file.writelines(f"{line}\n" for line in self._said)
            self._file.flush()
        except OSError as error:
            fix = "make room, or set run to another name"
            raise TrainingError("can't write the log", where=path, found=error.strerror, fix=fix) from error

    def close(self, text: str) -> None:
        """Write the last line to the file and close it; another call adds another last line."""
        if self._path is not None:
            with contextlib.suppress(OSError), self._file or _appending(self._path) as file:
                file.write(f"{shown(text)}\n")
            self._file = None

    def _write_line(self, line: str) -> None:
        with contextlib.suppress(OSError):  # nobody reads the output any more, or its disk is full: the job goes on
            super()._write_line(line)

    def _give_up(self) -> None:
        """Drop what can't be printed, or Python would fail to print it at its end."""
        try:
            self.stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def _write(self, line: str) -> None:
        super().note(line)
        if self._file is None:
            self._said.append(line)
            return
        with contextlib.suppress(OSError):  # a full disk stops a run where it matters, not at a log line
            self._file.write(f"{line}\n")
            self._file.flush()


def _appending(path: Path) -> TextIO:
    return open(path, "a", encoding="utf-8", opener=regular_opener)
