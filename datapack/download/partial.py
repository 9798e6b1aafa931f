"""A file while it is downloaded: under a temporary name, hashed while it is written, continued after a cut connection.

To continue means to request the missing rest, and only of the very same file (RFC 9110, 13.1.5): the server must have
named its version with a strong ``ETag``, or a time of the last change that is long past.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO

from datapack.download.responses import OddAnswerError, RefusedError, parse_date
from datapack.files import TEMPORARY_PREFIX, check_space
from datapack.hashing import new_hash
from datapack.text import size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from datapack.download.model import Request
    from datapack.web import Response

_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')  # an ETag that is not weak (RFC 9110, 8.8.3)
_SETTLED = 60.0  # seconds without a change, after which a time names one version of a file
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_LARGEST = 64 << 30  # bytes of a file whose length the server does not say
_SPACE_CHECKED = 64 << 20  # bytes between two looks at the free space, if the length is not known
_RESERVE = 256 << 20  # bytes that must stay free then


class Partial:
    """What has arrived of a file.

    ``size`` is the number of bytes, ``total`` the file's whole length, or None if the server does not say.
    """

    def __init__(self, request: Request) -> None:
        self._path = request.path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        self._algorithm, self._expected = request.checksum.algorithm, request.size or 0
        self.total: int | None = None
        self._clear()

    def _clear(self) -> None:
        self.size = 0
        self._hash = new_hash("sha256", 0)
        # what the file is checked with: the same, or what its publisher chose
        self._check = self._hash if self._algorithm == "sha256" else new_hash(self._algorithm, self._expected)
        self._source = self._version = ""
        self._names: dict[str, str] = {}  # all that the server said of the version

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def digest(self) -> str:
        """The hash that the request's checksum is compared with."""
        return self._check.hexdigest()

    @property
    def can_continue(self) -> bool:
        return bool(self.size and self._version)

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that ask a URL for the rest of the file; none, if the beginning came from elsewhere."""
        if self.can_continue and _place(url) == self._source:
            return {"Range": f"bytes={self.size}-", "If-Range": self._version}
        return {}

    @contextlib.contextmanager
    def open(self, response: Response) -> Iterator[BinaryIO]:
        """Open the file to append a response's body to it: the rest, or everything.

        Raises:
            OddAnswerError: the response is another part of the file. What has arrived is dropped.
        """
        length = response.length
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            self._check_part(response)
        else:
            self._clear()
            self.total = length
            self._source, self._version = _place(response.url), _version(response.headers)
            self._names = _names(response.headers)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self.total is not None:
            check_space(self._path.parent, self.total - self.size)
        with self._path.open("r+b" if self.size else "wb") as file:
            file.seek(self.size)
            yield file

    def _check_part(self, response: Response) -> None:
        """Check that a response is the rest of the file and nothing else."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip().lower())
        first, last, total = found.groups() if found else ("", "", "")
        names = _names(response.headers)
        sound = (
            self.size > 0
            and first == str(self.size)
            and (total == "*" or int(last) + 1 == int(total))
            and (self.total is None or int(last) + 1 == self.total)
            and all(self._names.get(name, value) == value for name, value in names.items())
        )
        if not sound:
            self._clear()
            raise OddAnswerError("another part of the file than the one requested")
        self.total = int(last) + 1

    def write(self, file: BinaryIO, block: bytes) -> None:
        """Append a block.

        Raises:
            RefusedError: the server does not say how long the file is, and it is too long.
            FetchError: the disk is nearly full.
        """
        before = self.size
        file.write(block)
        self._hash.update(block)
        if self._check is not self._hash:
            self._check.update(block)
        self.size += len(block)
        if self.total is None:
            if self.size > _LARGEST:
                raise RefusedError(f"over {size(_LARGEST)}, and the server does not say how long the file is")
            if self.size // _SPACE_CHECKED > before // _SPACE_CHECKED:
                check_space(self._path.parent, _RESERVE)

    def reading(self) -> BinaryIO:
        """Open the file to read it."""
        return self._path.open("rb")

    def publish(self, path: Path) -> None:
        """Give the file its final name."""
        self._path.replace(path)

    def discard(self) -> None:
        """Remove the file."""
        self._clear()
        self._path.unlink(missing_ok=True)


def _place(url: str) -> str:
    """Return a URL without its query, which may have a new signature for each request."""
    return url.partition("#")[0].partition("?")[0]


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name].strip() for name in ("ETag", "Last-Modified") if name in headers}


def _version(headers: Mapping[str, str]) -> str:
    """Return the validator that names the version of a file for certain, or nothing."""
    if headers.get("Accept-Ranges", "").strip().lower() == "none":
        return ""
    names = _names(headers)
    tag, changed = names.get("ETag", ""), names.get("Last-Modified", "")
    if _STRONG.fullmatch(tag):
        return tag
    then, now = parse_date(changed), parse_date(headers.get("Date", ""))
    return changed if then is not None and now is not None and now - then >= _SETTLED else ""
