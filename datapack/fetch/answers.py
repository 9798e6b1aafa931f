"""Small answers of web services in JSON, fetched like files: with the same deadlines, tries and rules for addresses."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.download import Request
from datapack.download.responses import status_line
from datapack.errors import FetchError
from datapack.files import TEMPORARY_PREFIX, read_limited
from datapack.jsonfile import parse_json

if TYPE_CHECKING:
    from http import HTTPStatus

    from datapack.fetch.context import FetchContext

_LIMIT = 64 << 20  # bytes: a record may list tens of thousands of files


class NoAnswerError(Exception):
    """A service gave no answer; ``str()`` is the reason. ``definite``: it does not have what was asked for."""

    def __init__(self, reason: str, *, definite: bool) -> None:
        super().__init__(reason)
        self.definite = definite

    def is_status(self, *statuses: HTTPStatus) -> bool:
        """Whether the answer had one of these statuses."""
        return str(self) in set(map(status_line, statuses))


def ask(context: FetchContext, url: str, label: str) -> Any:
    """Return what a service answers to a GET request.

    Raises:
        NoAnswerError: it gave no answer, or refused.
        FetchError: the answer is not JSON, or the disk failed.
    """
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=context.payload.folder) as folder:
        path = Path(folder) / "answer.json"
        failures = context.downloader.fetch(
            [Request((url,), path, headers=context.headers())], label, named=context.named
        )
        if failures:
            raise NoAnswerError(failures[0].reason, definite=failures[0].definite)
        return parse_json(read_limited(path, _LIMIT, FetchError), url, FetchError, limit=None)
