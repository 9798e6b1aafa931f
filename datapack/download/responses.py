"""What a web server's response means for the requested file."""

from __future__ import annotations

import email.utils
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from datapack.urls import UrlError, check_url
from datapack.web import InvalidAnswerError, PrivateAddressError, UntrustedError
from datapack.web import NoConnectionError as NoConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.web import Response, WebError

PRIVATE = "a private address that the catalog does not name"
PRIVATE_REDIRECT = "a redirect to a private address"
_REDIRECTS = 10
_GONE = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_HOST_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_GZIP = {"gzip", "x-gzip"}
_GZIP_NAMES = (".gz", ".tgz", ".svgz")


class DownloadError(Exception):
    """Why a URL did not give its file; ``str()`` is the same for the same cause.

    These reasons end up in ``missing.csv``, which is part of the dataset: the wording of the definite ones must not
    change. ``max_tries``: how many tries are useful, None for no limit. ``definite``: after these tries it is certain
    that the URL does not have the file.
    """

    max_tries: int | None = None
    definite = False


class RefusedError(DownloadError):
    """The URL will not give the file, however often it is requested."""

    max_tries = 1

    def __init__(self, reason: str, *, definite: bool = False) -> None:
        super().__init__(reason)
        self.definite = definite


class WrongFileError(DownloadError):
    """The URL gave something else. That may be a temporary "come back later" page, so it is tried once more."""

    max_tries = 2
    definite = True


class OddAnswerError(DownloadError):
    """The answer breaks HTTP or a limit. It is tried once more, and does not show that the file is missing."""

    max_tries = 2


class InterruptedTransferError(DownloadError):
    """The URL may give the file at another time."""


class HostBusyError(InterruptedTransferError):
    """The host asks for fewer requests, for ``retry_after`` seconds if it says how long."""

    def __init__(self, reason: str, retry_after: float | None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoConnectionError(InterruptedTransferError):
    """The host accepts no connection."""


def to_download_error(error: WebError, *, redirected: bool) -> DownloadError:
    """Return what a failed request means for the file.

    Args:
        error: why there was no answer, or not all of it.
        redirected: whether the request followed a redirect.
    """
    match error:
        case PrivateAddressError() if redirected:
            return RefusedError(PRIVATE_REDIRECT)
        case PrivateAddressError():
            return RefusedError(PRIVATE)
        case UntrustedError():
            return RefusedError(str(error))
        case InvalidAnswerError():
            return OddAnswerError(str(error))
        case NoConnection():
            return NoConnectionError(str(error))
    return InterruptedTransferError(str(error))


def check_status(response: Response, *, has_login: bool = False) -> None:
    """Raise the `DownloadError` that fits a response, unless it has a file: status 200, or 206 with a part of it.

    With a login, which may have expired, "forbidden" does not show that the file is missing.
    """
    status = response.status
    if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        return
    reason = status_line(status)
    if status in _HOST_BUSY:
        raise HostBusyError(reason, parse_retry_after(response.headers.get("Retry-After")))
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise InterruptedTransferError(reason)
    raise RefusedError(reason, definite=status in _GONE and not (has_login and status == HTTPStatus.FORBIDDEN))


def check_encoding(response: Response, name: str) -> None:
    """Raise `RefusedError` if a response's body is not the file called ``name`` but an encoding of it.

    Some servers say ``gzip`` for a file that is a gzip file.
    """
    coding = response.encoding
    if coding and not (coding in _GZIP and name.lower().endswith(_GZIP_NAMES)):
        raise RefusedError(f"an encoding that was not requested ({coding})")


def status_line(status: int) -> str:
    """Format a status with its standard phrase, not the server's."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def parse_retry_after(value: str | None) -> float | None:
    """Parse a ``Retry-After`` header (RFC 9110, 10.2.3); return the seconds from now, or None if it is invalid."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    date = parse_date(value)
    return None if date is None else max(0.0, date - time.time())


def parse_date(value: str) -> float | None:
    """Return the seconds since 1970 of a date in a header, or None if it is invalid."""
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def redirect_target(response: Response, chain: Sequence[str]) -> str | None:
    """Return the URL that a response redirects to, or None if it is not a redirect.

    Args:
        response: the response to the last URL of ``chain``.
        chain: the URLs that led here, in order.

    Raises:
        RefusedError: the redirect is circular, one too many, from https to http, or not to a web URL.
    """
    if response.status not in {301, 302, 303, 307, 308}:
        return None
    location = _as_utf8(response.headers.get("Location", ""))
    if not location:
        raise RefusedError("a redirect without a target")
    try:
        target = check_url(urljoin(chain[-1], location)).partition("#")[0]
    except ValueError as error:
        reason = str(error) if isinstance(error, UrlError) else "not a URL"
        raise RefusedError(f"an invalid redirect: {reason}") from error
    if chain[-1].startswith("https:") and not target.startswith("https:"):
        raise RefusedError("a redirect from https to http")
    if target in chain:
        raise RefusedError("redirects in a circle")
    if len(chain) > _REDIRECTS:
        raise RefusedError(f"over {_REDIRECTS} redirects")
    return target


def _as_utf8(header: str) -> str:
    """Read a header as UTF-8, in which some servers write URLs; Python reads headers as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
