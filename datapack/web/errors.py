"""Why a request got no usable answer."""

from __future__ import annotations

import http.client
import re
import ssl
from typing import TYPE_CHECKING

from urllib3 import exceptions as urllib3_errors

from datapack.errors import DatapackError

if TYPE_CHECKING:
    from collections.abc import Iterator


class SettingError(DatapackError):
    """A certificate or a proxy that the environment names can't be used."""

    exit_code = 2


class WebError(Exception):
    """Why a request got no usable answer. ``str()`` is the same for the same cause, and shows no URL."""


class NoConnectionError(WebError):
    """The host accepts no connection."""


class TransferError(WebError):
    """The connection was cut, or was too slow. Another try may succeed."""


class UntrustedError(WebError):
    """The host's certificate can't be trusted; ``why`` is OpenSSL's reason."""

    def __init__(self, why: str) -> None:
        super().__init__("untrusted certificate")
        self.why = why


class NoTlsError(TransferError):
    """The host did not speak TLS as it should."""


class InvalidAnswerError(WebError):
    """The answer breaks HTTP, or a limit."""


class PrivateAddressError(WebError):
    """The host is not on the public internet, where this request must stay."""

    def __init__(self) -> None:
        super().__init__("a private address")


def to_web_error(error: urllib3_errors.HTTPError, connect_timeout: float) -> WebError:
    """Return the `WebError` for an error of urllib3. Its own wording differs from run to run."""
    causes = list(causes_of(error))
    untrusted = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    found: WebError = TransferError("the connection was cut")
    match error:
        case _ if untrusted:
            found = UntrustedError(untrusted.verify_message)
        case _ if any(isinstance(cause, ssl.SSLError | urllib3_errors.SSLError) for cause in causes):
            found = NoTlsError("no secure connection")
        case urllib3_errors.ProxyError():
            found = NoConnectionError(f"the proxy gave no connection{_status(causes)}")
        case urllib3_errors.ReadTimeoutError():  # of a TLS handshake: every other timeout is one of `sockets`
            found = NoConnectionError(f"no connection within {connect_timeout:g} s")
        case urllib3_errors.LocationValueError():
            found = InvalidAnswerError("not a URL")
        case urllib3_errors.InvalidHeader():
            found = InvalidAnswerError("an invalid Content-Length")
        case _ if any(isinstance(cause, http.client.HTTPException) and not _is_cut(cause) for cause in causes):
            found = InvalidAnswerError("not a valid HTTP answer")
    return found


def _status(causes: list[BaseException]) -> str:
    """Return the status with which a proxy refused to connect, such as 407 without a login."""
    found = re.search(r"Tunnel connection failed: (\d{3})", " ".join(map(str, causes)))
    return f" (status {found[1]})" if found else ""


def _is_cut(cause: http.client.HTTPException) -> bool:
    return isinstance(cause, http.client.RemoteDisconnected | http.client.IncompleteRead)


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it; urllib3 keeps some causes in ``reason`` and some in its arguments."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        inside = (getattr(current, "reason", None), *current.args)
        hidden = next((part for part in inside if isinstance(part, BaseException)), None)
        current = current.__cause__ or hidden or current.__context__
