"""One request to a web server, and what the response means for the requested file."""

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

_BLOCK = 1 << 20  # bytes per read
_CONNECT_TIMEOUT = 10.0  # seconds: a host that is up accepts a connection sooner
_REDIRECTS = 10
_SMALL = 1 << 16  # bytes: shorter responses are read to the end, so that the connection can be reused
_GONE = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_HOST_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


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


class InterruptedTransferError(DownloadError):
    """The URL may give the file at another time."""


class HostBusyError(InterruptedTransferError):
    """The host asks for fewer requests, for ``retry_after`` seconds if it says how long."""

    def __init__(self, reason: str, retry_after: float | None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NoConnectionError(InterruptedTransferError):
    """The host accepts no connection."""


class Web:
    """Connections to web servers, kept open and reused.

    Args:
        connections: how many are kept open per host.
        timeout: seconds that a server may be silent.
        contact: tells server operators who is downloading: a homepage, an e-mail address.
        is_public: whether an IP address is on the public internet, where any redirect may lead.
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
        self._unrestricted = urllib3.PoolManager(**self._options)  # type: ignore[arg-type] # a mapping of several types
        self._public = urllib3.PoolManager(**self._options)  # type: ignore[arg-type] # as above
        self._public.pool_classes_by_scheme = _guarded_pools(is_public)
        self._proxies = getproxies()
        self._proxy_managers: dict[str, urllib3.ProxyManager] = {}
        self._private: dict[str, bool] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def get(self, url: str, *, public_only: bool) -> Iterator[BaseHTTPResponse]:
        """Request a URL; the body is not read yet.

        Args:
            url: what `check_url` returned.
            public_only: refuse hosts that are not on the public internet.

        Raises:
            DownloadError: there was no response, or the host must not be contacted.
        """
        pool = self._pool(url, public_only)
        with self._map_errors():
            response = pool.request("GET", url, preload_content=False, redirect=False)
        try:
            yield response
        finally:
            _end(response)

    def _pool(self, url: str, public_only: bool) -> urllib3.PoolManager:
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxy = self._proxies.get(parts.scheme)
        if proxy is None or proxy_bypass(host):
            return self._public if public_only else self._unrestricted
        if public_only and self.is_private(url):
            raise RefusedError("a redirect to a private address")
        with self._lock:
            if proxy not in self._proxy_managers:
                self._proxy_managers[proxy] = _proxy_manager(proxy, self._options)
            return self._proxy_managers[proxy]

    def is_private(self, url: str) -> bool:
        """Whether a URL's host is not on the public internet, as far as name resolution tells."""
        host = urlsplit(url).hostname or ""
        if host not in self._private:
            try:
                addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
            except OSError:
                return False
            self._private[host] = not all(map(self._is_public, addresses))
        return self._private[host]

    def blocks(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        """Read a response's body.

        Raises:
            InterruptedTransferError: it broke off.
        """
        with self._map_errors():
            while block := response.read(_BLOCK, decode_content=False):
                yield block

    @contextlib.contextmanager
    def _map_errors(self) -> Iterator[None]:
        try:
            yield
        except urllib3_errors.HTTPError as error:
            raise self._to_download_error(error) from error

    def _to_download_error(self, error: urllib3_errors.HTTPError) -> DownloadError:
        found: DownloadError
        match error:
            case (
                urllib3_errors.NewConnectionError() | urllib3_errors.ConnectTimeoutError() | urllib3_errors.ProxyError()
            ):
                found = NoConnectionError(self._why_no_connection(error))
            case urllib3_errors.ReadTimeoutError():
                found = InterruptedTransferError(f"silent for {self._timeout:g} s")
            case urllib3_errors.SSLError() if "CERTIFICATE_VERIFY" in str(error):
                found = RefusedError("untrusted certificate")
            case urllib3_errors.SSLError():
                found = InterruptedTransferError("no secure connection")
            case urllib3_errors.LocationValueError():
                found = RefusedError("not a URL")
            case _:
                found = InterruptedTransferError("the connection was cut")
        return found

    def _why_no_connection(self, error: urllib3_errors.HTTPError) -> str:
        if isinstance(error, urllib3_errors.NameResolutionError):
            return "host name not found"
        if isinstance(error, urllib3_errors.ProxyError):
            return "the proxy gave no connection"
        if isinstance(error, urllib3_errors.NewConnectionError):  # in some versions it is a timeout too
            cause = error.__cause__  # the system's wording; urllib3's differs from run to run
            return cause.strerror.lower() if isinstance(cause, OSError) and cause.strerror else "no connection"
        return f"no connection within {min(_CONNECT_TIMEOUT, self._timeout):g} s"


def user_agent(contact: str) -> str:
    """Return the User-Agent: ``datapack/0.1.0 (+https://example.org; data@example.org)``."""
    plain = " ".join(contact.encode("ascii", "ignore").decode().replace("(", "").replace(")", "").split())
    return f"datapack/{__version__}" + (f" ({plain})" if plain else "")


def check_status(response: BaseHTTPResponse) -> None:
    """Raise the `DownloadError` that fits a response, unless its status is 200 and its body is not encoded."""
    status = response.status
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if status == HTTPStatus.OK and coding in {"", "identity"}:
        return
    if status == HTTPStatus.OK:
        raise RefusedError(f"an encoding that was not requested ({coding})")
    reason = status_line(status)
    if status in _HOST_BUSY:
        raise HostBusyError(reason, parse_retry_after(response.headers.get("Retry-After")))
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise InterruptedTransferError(reason)
    raise RefusedError(reason, definite=status in _GONE)


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
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def redirect_target(response: BaseHTTPResponse, chain: Sequence[str]) -> str | None:
    """Return the URL that a response redirects to, or None if it is not a redirect.

    Args:
        response: the response to the last URL of ``chain``.
        chain: the URLs that led here, in order.

    Raises:
        RefusedError: the redirect is circular, one too many, from https to http, or not to a web URL.
    """
    if response.status not in {301, 302, 303, 307, 308}:
        return None
    location = response.headers.get("Location")
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


def _end(response: BaseHTTPResponse) -> None:
    """Prepare the connection for the next request, or close it."""
    if (remaining := getattr(response, "length_remaining", None)) is not None and remaining <= _SMALL:
        response.drain_conn()
    response.close()


def _guarded_pools(is_public: Callable[[str], bool]) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Make connection pools that only connect to the public internet.

    The address is checked after the connection is made and before anything is sent, so a host name that resolves to
    another address at the second look-up (DNS rebinding) can't get around the check.
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


def _proxy_manager(proxy: str, options: dict[str, object]) -> urllib3.ProxyManager:
    """Make connections through the environment's proxy, with its user name and password if the URL has them."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    headers = urllib3.make_headers(proxy_basic_auth=secret) if secret else None
    try:
        return urllib3.ProxyManager(plain, proxy_headers=headers, **options)  # type: ignore[arg-type] # of several types
    except urllib3_errors.HTTPError as error:
        raise RefusedError(f"a proxy that can't be used ({parts.scheme})") from error
