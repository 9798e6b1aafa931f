"""What a download starts from and ends with: requests, fetched files, and failures with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.files import FileStat


@dataclass(frozen=True)
class Request:
    """A file to download.

    ``urls`` are tried in order. ``sha256`` is the start of the file's hash, or empty if it is not known; ``pixels`` is
    an image's width and height, or None.
    """

    urls: tuple[str, ...]
    path: Path
    sha256: str = ""
    pixels: tuple[int, int] | None = None


@dataclass(frozen=True)
class Fetched:
    """A file that is complete, on disk and under its final name."""

    request: Request
    sha256: str
    stat: FileStat


@dataclass(frozen=True)
class Answer:
    """What a URL gave instead of the file, after this many tries. ``definite``: it does not have the file."""

    url: str
    reason: str
    definite: bool
    tries: int


@dataclass(frozen=True)
class Failure:
    """A file that none of its URLs gave."""

    request: Request
    answers: tuple[Answer, ...]

    @property
    def reason(self) -> str:
        return self.answers[-1].reason

    @property
    def definite(self) -> bool:
        """Whether no URL has the file, so that another run would not find it either."""
        return all(answer.definite for answer in self.answers)
