"""One file on its way through the downloader: where it may come from, and what has arrived of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from datapack.download.content import WrongContentError, check_content
from datapack.download.model import Answer
from datapack.download.responses import WrongFileError
from datapack.files import disk_errors
from datapack.urls import UrlError, check_url, hide_secrets, host_of

if TYPE_CHECKING:
    from datapack.download.model import Request
    from datapack.download.partial import Partial
    from datapack.download.responses import DownloadError

_PROGRESS = 1 << 20  # bytes: a try that got at least so much further is not counted


@dataclass(slots=True)
class Task:
    """A request in progress: the URLs left to try, and what the earlier ones answered."""

    number: int
    request: Request
    remaining: list[str]  # the first is the one being tried
    chain: list[str] = field(default_factory=list)  # the redirects of that URL, in order; the last is requested next
    tries: int = 0  # since the last one that got further
    answers: list[Answer] = field(default_factory=list)
    partial: Partial | None = None
    furthest: int = 0  # bytes that the partial file had at most

    @classmethod
    def begin(cls, number: int, request: Request) -> Self:
        """Make the task of a request. It has no chain if its first URL is not one that may be requested."""
        try:
            chain = [check_url(request.urls[0])]
        except UrlError:
            chain = []
        return cls(number, request, list(request.urls), chain)

    def record_error(self, error: DownloadError) -> None:
        """Record why the present URL gave no file. A server's own words are left out if it may repeat a secret."""
        reason = str(error)
        if self.request.headers and not isinstance(error, WrongFileError):
            reason = reason.partition(" (")[0]
        self.record_answer(reason, definite=error.definite)

    def record_answer(self, reason: str, *, definite: bool) -> None:
        """Record what the present URL gave instead of the file; the next one is the present one now."""
        self.answers.append(Answer(hide_secrets(self.remaining.pop(0)), reason, definite, self.tries))

    def restart(self) -> None:
        """Forget what has arrived from an earlier URL."""
        self.discard()
        self.tries = self.furthest = 0

    def discard(self) -> None:
        """Remove what has arrived."""
        if self.partial is not None:
            with disk_errors(self.request.path):
                self.partial.discard()
            self.partial = None

    def count_try(self, *, counted: bool) -> None:
        """Count a failed try, unless the file got further: that can't go on for ever, as the file has an end."""
        if self.partial is not None and not self.partial.can_continue:
            self.discard()
        here = self.partial.size if self.partial else 0
        if here >= self.furthest + _PROGRESS:
            self.furthest, self.tries = here, 0
        else:
            self.tries += counted

    def check(self, media_type: str, *, length_known: bool) -> None:
        """Raise `WrongFileError` if what has arrived is not the requested file. A whole checksum decides alone."""
        assert self.partial is not None  # noqa: S101 - it has just arrived
        request, found, wanted = self.request, self.partial.digest, self.request.checksum
        right = wanted.fits(found)
        if right and wanted.is_whole:
            return
        try:
            with self.partial.reading() as file:
                check_content(file, request.path.name, request.pixels, media_type, length_known=length_known)
        except WrongContentError as error:
            raise WrongFileError(str(error)) from error
        if request.size not in {None, self.partial.size}:
            raise WrongFileError(f"wrong size (expected {request.size:,} bytes, found {self.partial.size:,})")
        if not right:
            raise WrongFileError(f"wrong {wanted.algorithm} (expected {wanted.digits}, found {found})")


def first_host(request: Request) -> str:
    """Return the host of a request's first URL, or nothing if that is seen not to be one that may be requested."""
    return _host_at("/".join(request.urls[0].split("/", 3)[:3]) + "/")


@lru_cache(maxsize=1024)
def _host_at(origin: str) -> str:
    """Return the host of a URL by what comes before its path: most files of a list come from a few hosts."""
    try:
        return host_of(check_url(origin))
    except UrlError:
        return ""
