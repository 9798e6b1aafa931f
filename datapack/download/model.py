"""What a download starts from and ends with: requests, fetched files, and failures with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datapack.download.secret_headers import NO_HEADERS
from datapack.hashing import Checksum

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.download.secret_headers import SecretHeaders
    from datapack.files import FileStat

_UNKNOWN = Checksum()


@dataclass(frozen=True, slots=True)
class Request:
    """A file to download.

    ``urls`` are tried in order. ``pixels`` is an image's width and height, ``size`` the number of bytes, each None if
    it is not known.
    """

    urls: tuple[str, ...]
    path: Path
    checksum: Checksum = _UNKNOWN
    pixels: tuple[int, int] | None = None
    size: int | None = None
    headers: SecretHeaders = NO_HEADERS


class Requests(Protocol):
    """A sequence of requests; each may be made when it is read."""

    def __len__(self) -> int:
        """Return their number."""

    def __getitem__(self, number: int, /) -> Request:
        """Return one of them."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is complete, on disk and under its final name; ``number`` counts the requests from 0."""

    number: int
    sha256: str
    stat: FileStat


@dataclass(frozen=True, slots=True)
class Answer:
    """What a URL gave instead of the file, after this many tries. ``definite``: it does not have the file."""

    url: str  # without passwords and signatures
    reason: str
    definite: bool
    tries: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that none of its URLs gave; ``number`` counts the requests from 0."""

    number: int
    answers: tuple[Answer, ...]

    @property
    def reason(self) -> str:
        return self.answers[-1].reason

    @property
    def definite(self) -> bool:
        """Whether no URL has the file, so that another run would not find it either."""
        return all(answer.definite for answer in self.answers)
