"""What a run says: on standard output, which is all that a job in the Safe Haven shows, and in the run's `log.txt`."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, TextIO

from datapack.progress import Console, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Log(Console):
    """A console that gives each line its time and, once there is a run, writes it to a file too.

    Progress is a bar on a terminal and a line every so often elsewhere. With ``quiet``, as in every process of a
    training but the first, nothing is said.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        super().__init__(stream or sys.stdout)
        self.quiet = quiet
        self._said: list[str] = []  # what was said before there was a file for it
        self._file: TextIO | None = None

    def note(self, text: str) -> None:
        """Say one line."""
        if not self.quiet:
            self._write(f"{time.strftime('%H:%M:%S')}  {text}")

    @contextlib.contextmanager
    def progress(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show progress towards ``total`` units; yield the function that advances it."""
        shown = Silent().progress(label, total, unit) if self.quiet else super().progress(label, total, unit)
        with shown as advance:
            yield advance

    def last(self, text: str) -> None:
        """Say the line that tells how it ended: just that, so that a job's last line can be searched for."""
        if not self.quiet:
            super().note(text)

    def keep(self, path: Path) -> None:
        """Write what was said and will be said to the end of ``path`` as well."""
        if self.quiet or self._file is not None:
            return
        self._file = path.open("a", encoding="utf-8")
        self._file.writelines(f"{line}\n" for line in self._said)
        self._file.flush()

    def close(self, text: str) -> None:
        """End the file with a line; what is said from now on does not get into it."""
        if self._file is not None:
            with contextlib.suppress(OSError), self._file:
                self._file.write(f"{text}\n")
            self._file = None

    def _write(self, line: str) -> None:
        super().note(line)
        if self._file is None:
            self._said.append(line)
            return
        with contextlib.suppress(OSError):  # a full disk stops a run where it matters, not at a line of its log
            self._file.write(f"{line}\n")
            self._file.flush()
