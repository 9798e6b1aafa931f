"""One question to one web server, and what its answer means for the file that was asked for."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection, HTTPSConnection

from datapack import __version__
from datapack.urls import UrlError, check_url, is_public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from urllib3 import BaseHTTPResponse

_BLOCK = 1 << 20  # bytes a read
_CONNECT_TIMEOUT = 10.0  # seconds: a host that is there takes a connection in less
_REDIRECTS = 10
_SMALL = 1 << 16  # bytes of an answer that are read, so that its connection can be used again
_GONE = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_HOST_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class TroubleError(Exception):
    """Why an address did not give its file; ``str()`` is the same for the same cause.

    ``most_tries`` is how often it makes sense to ask, None for as often as one is ready to. ``definite``: after so many
    the answer is that there is no such file.
    """

    most_tries: int | None = None
    definite = False


class RefusedError(TroubleError):
    """The address will not give the file, however often it is asked."""

    most_tries = 1

    def __init__(self, reason: str, *, definite: bool = False) -> None:
        super().__init__(reason)
        self.definite = definite


class WrongFileError(TroubleError):
    """The address gave something else. A page that says to come back later goes away, so it is asked once more."""

    most_tries = 2
    definite = True


class InterruptedTransferError(TroubleError):
    """The address may give the file another time."""


class HostBusyError(InterruptedTransferError):
    """The host wants fewer questions, for ``retry_after`` seconds where it said so."""

    def __init__(self, reason: str, retry_after: float | None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoConnectionError(InterruptedTransferError):
    """The host took no connection."""


class Web:
    """Connections to web servers, kept open and used again.

    Args:
        connections: how many are kept open for each host.
        timeout: seconds that a server may be silent.
        contact: who asks, for the servers' keepers: a homepage, an e-mail address.
        is_public: says of an IP address whether a redirect may lead there from anywhere.
    """

    def __init__(
        self, connections: int, timeout: float, contact: str, is_public: Callable[[str], bool] = is_public
    ) -> None:
        self._is_public = is_public
        self._timeout = timeout
        self._options = {
            "num_pools": 64,
            "maxsize": connections,
            "retries": False,
            "timeout": urllib3.Timeout(connect=min(_CONNECT_TIMEOUT, timeout), read=timeout),
            "headers": {"User-Agent": user_agent(contact), "Accept-Encoding": "identity", "Accept": "*/*"},
        }
        self._anywhere = urllib3.PoolManager(**self._options)  # type: ignore[arg-type] # a mapping of several types
        self._public = urllib3.PoolManager(**self._options)  # type: ignore[arg-type] # as above
        self._public.pool_classes_by_scheme = _guarded_pools(is_public)
        self._proxies = getproxies()
        self._behind: dict[str, urllib3.ProxyManager] = {}
        self._private: dict[str, bool] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def get(self, address: str, *, public_only: bool) -> Iterator[BaseHTTPResponse]:
        """Ask for an address; the body is not read yet.

        Args:
            address: what `check_url` returned.
            public_only: refuse to ask a host that is not on the open internet.

        Raises:
            TroubleError: there was no answer, or the host must not be asked.
        """
        pool = self._pool(address, public_only)
        with self._troubles():
            response = pool.request("GET", address, preload_content=False, redirect=False)
        try:
            yield response
        finally:
            _end(response)

    def _pool(self, address: str, public_only: bool) -> urllib3.PoolManager:
        parts = urlsplit(address)
        host = parts.hostname or ""
        proxy = self._proxies.get(parts.scheme)
        if proxy is None or proxy_bypass(host):
            return self._public if public_only else self._anywhere
        if public_only and self.is_private(address):
            raise RefusedError("a redirect to a private address")
        with self._lock:
            if proxy not in self._behind:
                self._behind[proxy] = _proxy_manager(proxy, self._options)
            return self._behind[proxy]

    def is_private(self, address: str) -> bool:
        """Whether an address's host is, as far as can be told here, not one of the open internet."""
        host = urlsplit(address).hostname or ""
        if host not in self._private:
            try:
                numbers = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
            except OSError:
                return False
            self._private[host] = not all(map(self._is_public, numbers))
        return self._private[host]

    def blocks(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        """Read an answer's body.

        Raises:
            InterruptedTransferError: it ended before its end.
        """
        with self._troubles():
            while block := response.read(_BLOCK, decode_content=False):
                yield block

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except urllib3_errors.HTTPError as error:
            raise self._trouble(error) from error

    def _trouble(self, error: urllib3_errors.HTTPError) -> TroubleError:
        trouble: TroubleError
        match error:
            case (
                urllib3_errors.NewConnectionError() | urllib3_errors.ConnectTimeoutError() | urllib3_errors.ProxyError()
            ):
                trouble = NoConnectionError(self._why_no_connection(error))
            case urllib3_errors.ReadTimeoutError():
                trouble = InterruptedTransferError(f"silent for {self._timeout:g} s")
            case urllib3_errors.SSLError() if "CERTIFICATE_VERIFY" in str(error):
                trouble = RefusedError("a certificate that is not trusted here")
            case urllib3_errors.SSLError():
                trouble = InterruptedTransferError("no secure connection")
            case urllib3_errors.LocationValueError():
                trouble = RefusedError("not an address")
            case _:
                trouble = InterruptedTransferError("the connection was cut")
        return trouble

    def _why_no_connection(self, error: urllib3_errors.HTTPError) -> str:
        if isinstance(error, urllib3_errors.NameResolutionError):
            return "host name not found"
        if isinstance(error, urllib3_errors.ProxyError):
            return "the proxy gave no connection"
        if isinstance(error, urllib3_errors.NewConnectionError):  # which counts as a timeout too in some versions
            cause = error.__cause__  # the system's words; urllib3's differ from run to run
            return cause.strerror.lower() if isinstance(cause, OSError) and cause.strerror else "no connection"
        return f"no connection within {min(_CONNECT_TIMEOUT, self._timeout):g} s"


def user_agent(contact: str) -> str:
    """Return what datapack calls itself to servers: ``datapack/0.1.0 (+https://example.org; data@example.org)``."""
    plain = " ".join(contact.encode("ascii", "ignore").decode().replace("(", "").replace(")", "").split())
    return f"datapack/{__version__}" + (f" ({plain})" if plain else "")


def check_status(response: BaseHTTPResponse) -> None:
    """Raise the `TroubleError` that an answer stands for, unless its status is 200 and its body the file's bytes."""
    status = response.status
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if status == HTTPStatus.OK and coding in {"", "identity"}:
        return
    if status == HTTPStatus.OK:
        raise RefusedError(f"the file in a form that was not asked for ({coding})")
    reason = status_line(status)
    if status in _HOST_BUSY:
        raise HostBusyError(reason, parse_retry_after(response.headers.get("Retry-After")))
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise InterruptedTransferError(reason)
    raise RefusedError(reason, definite=status in _GONE)


def status_line(status: int) -> str:
    """Write a status with its standard words, not the server's."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def parse_retry_after(value: str | None) -> float | None:
    """Read a ``Retry-After`` header (RFC 9110, 10.2.3); return seconds from now, None where it is neither form."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def redirect_target(response: BaseHTTPResponse, asked: Sequence[str]) -> str | None:
    """Return where an answer sends the request, or None if it is no redirect.

    Args:
        response: the answer.
        asked: the addresses that led here, in order; the last gave this answer.

    Raises:
        RefusedError: it leads in a circle, too far, from https to http, or to what is no web address.
    """
    if response.status not in {301, 302, 303, 307, 308}:
        return None
    location = response.headers.get("Location")
    if not location:
        raise RefusedError("a redirect that leads nowhere")
    try:
        target = check_url(urljoin(asked[-1], location)).partition("#")[0]
    except ValueError as error:
        reason = str(error) if isinstance(error, UrlError) else "not an address"
        raise RefusedError(f"a redirect to {reason}") from error
    if asked[-1].startswith("https:") and not target.startswith("https:"):
        raise RefusedError("a redirect from https to http")
    if target in asked:
        raise RefusedError("redirects in a circle")
    if len(asked) > _REDIRECTS:
        raise RefusedError(f"over {_REDIRECTS} redirects")
    return target


def _end(response: BaseHTTPResponse) -> None:
    """Leave the connection fit for the next question, or close it."""
    if (remaining := getattr(response, "length_remaining", None)) is not None and remaining <= _SMALL:
        response.drain_conn()
    response.close()


def _guarded_pools(is_public: Callable[[str], bool]) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Make pools whose connections go to the open internet only.

    The address is looked at after the connection is made and before anything is sent, so that a name that changes
    between two look-ups gains nothing.
    """

    def check(connection: HTTPConnection) -> None:
        peer = connection.sock.getpeername()[0] if connection.sock else ""
        if not is_public(peer):
            connection.close()
            raise RefusedError("a redirect to a private address")

    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            check(self)

    class SecureConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            check(self)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def _proxy_manager(address: str, options: dict[str, object]) -> urllib3.ProxyManager:
    """Make connections through the proxy that the environment names, with its user name and password if it has them."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    headers = urllib3.make_headers(proxy_basic_auth=secret) if secret else None
    try:
        return urllib3.ProxyManager(plain, proxy_headers=headers, **options)  # type: ignore[arg-type] # of several types
    except urllib3_errors.HTTPError as error:
        raise RefusedError(f"a proxy that can't be used ({parts.scheme})") from error
