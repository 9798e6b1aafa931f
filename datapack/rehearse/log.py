"""The output of a rehearsed program: passed on as it comes, its last line kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

_KEPT = 4096  # bytes of the end of a stream, enough for its last line


@dataclass(frozen=True)
class Log:
    """Where the output of a program goes, as it comes."""

    out: BinaryIO
    err: BinaryIO


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``last`` has the last line of each of its streams."""

    status: int
    out_of_memory: bool
    last: tuple[str, ...]


@dataclass
class Tail:
    """A stream that passes output on and keeps its end."""

    stream: BinaryIO
    kept: bytes = field(default=b"")

    def write(self, part: bytes) -> None:
        self.stream.write(part)
        self.stream.flush()
        self.kept = (self.kept + part)[-_KEPT:]

    @property
    def last_line(self) -> str:
        return self.kept.decode(errors="replace").strip().rpartition("\n")[2]  # no other character ends a line
