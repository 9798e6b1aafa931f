"""Send a request and read its answer."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3 import exceptions as urllib3_errors

from datapack import __version__
from datapack.urls import is_public
from datapack.web.certificates import make_context
from datapack.web.connections import Guard, make_pools, resolve
from datapack.web.errors import InvalidAnswerError, NoConnectionError, PrivateAddressError, WebError, to_web_error
from datapack.web.proxies import Proxy, ProxyRules

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Self

CONNECT_TIMEOUT = 10.0  # seconds: a host that is up accepts a connection sooner
SMALL = 4 << 20  # bytes: the most that is read of an answer that has to fit into memory
_BLOCK = 256 << 10  # bytes per read
_DRAINED = 1 << 16  # bytes: shorter answers are read to the end, so that the connection can be used again
_NO_ENCODING = {"", "identity", "aws-chunked", "utf-8", "binary"}  # what some servers send for a body as it is
_MOST_DIGITS = 18  # of a Content-Length
_SHOWN = 40  # characters of a header in an error
_POOLS = 64


class Response:
    """The answer to a request; its body is not read yet. Close it, or use it in a ``with`` statement."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, map_errors: Callable[[], Any]) -> None:
        self._response, self._map_errors = response, map_errors
        self.url = url
        self.status: int = response.status
        self.reason: str = response.reason or ""
        self.headers: Mapping[str, str] = response.headers  # names in any case; a repeated header's values are joined

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def length(self) -> int | None:
        """The length of the body that the headers announce; also of the body that a HEAD request did not ask for.

        Raises:
            InvalidAnswerError: it is not a length, or the body comes in another form than in chunks or as it is.
        """
        if transfer := self.headers.get("Transfer-Encoding", "").strip().lower().removeprefix("identity"):
            if transfer != "chunked":
                raise InvalidAnswerError(f"a transfer coding that was not requested ({transfer[:_SHOWN]})")
            return None
        values = {value.strip() for value in self.headers.get("Content-Length", "").split(",")}
        if values == {""}:
            return None
        value = values.pop()
        if values or not (value.isascii() and value.isdigit() and len(value.lstrip("0")) <= _MOST_DIGITS):
            raise InvalidAnswerError("an invalid Content-Length")
        return int(value.lstrip("0") or "0")

    @property
    def encoding(self) -> str:
        """The ``Content-Encoding``, such as ``gzip``; empty if the body is as it is."""
        codings = (coding.strip() for coding in self.headers.get("Content-Encoding", "").lower().split(","))
        return ", ".join(coding for coding in codings if coding not in _NO_ENCODING)[:_SHOWN]

    def blocks(self, *, encoded: bool = False) -> Iterator[bytes]:
        """Yield the body as it comes, in blocks of any size, up to its announced length.

        Args:
            encoded: accept a body with an `encoding`, and leave it encoded.

        Raises:
            InvalidAnswerError: the body is encoded although nobody asked for that, or breaks HTTP.
            TransferError: it broke off, or came too slowly.
        """
        if not encoded and self.encoding:
            raise InvalidAnswerError(f"an encoding that was not requested ({self.encoding})")
        _ = self.length  # is it valid?
        with self._map_errors():
            while block := self._response.read1(_BLOCK, decode_content=False):
                self._response.delivered(len(block))  # type: ignore[attr-defined] # set in `connections`
                yield block

    def read(self, limit: int = SMALL) -> bytes:
        """Return the whole body.

        Raises:
            InvalidAnswerError: it is longer than ``limit`` bytes, or as in `blocks`.
            TransferError: as in `blocks`.
        """
        content = bytearray()
        if (self._left or 0) <= limit:
            for block in self.blocks():
                content += block
                if len(content) > limit:
                    break
            else:
                return bytes(content)
        raise InvalidAnswerError(f"an answer of over {limit:,} bytes")

    @property
    def _left(self) -> int | None:
        """How much of the body is not read yet; None if that is not known."""
        return getattr(self._response, "length_remaining", None)

    def close(self) -> None:
        """Give the connection back to be used again, or close it if too much of the body is left."""
        if self._left is not None and self._left <= _DRAINED:
            with contextlib.suppress(WebError):
                self._response.drain_conn()
        self._response.close()


class Web:
    """Connections to web servers, kept open and used again; safe to use from several threads.

    Args:
        connections: how many are kept open per host.
        timeout: the patience with a server in seconds: until an answer's headers are here, and for each `SLOWEST` times
            that many bytes of a body.
        contact: tells server operators who is asking: a homepage, an e-mail address.
        verify: whether a server needs a certificate that is trusted.
        is_public: whether an IP address is on the public internet.
    """

    def __init__(
        self,
        *,
        connections: int = 5,
        timeout: float = 30.0,
        contact: str = "",
        verify: bool = True,
        is_public: Callable[[str], bool] = is_public,
    ) -> None:
        self._timeout, self._verify = timeout, verify
        self._connect_timeout = min(CONNECT_TIMEOUT, timeout)
        self._connections = connections
        self._headers = {"User-Agent": user_agent(contact), "Accept-Encoding": "identity", "Accept": "*/*"}
        self._guard = Guard(self._connect_timeout, is_public)
        self._rules = ProxyRules.of()
        self._managers: dict[tuple[Proxy | None, bool, bool], urllib3.PoolManager] = {}
        self._private: dict[str, bool] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes | memoryview] | None = None,
        timeout: float | None = None,
        public_only: bool = False,
    ) -> Response:
        """Send a request; return the answer, whatever its status. Redirects are not followed, nothing is tried again.

        Args:
            method: the HTTP method.
            url: a valid http or https URL, see `datapack.urls.check_url`.
            headers: further headers; ``Content-Length``, if an iterable body should not be sent in chunks.
            body: the body.
            timeout: the patience with the server, if not the usual one.
            public_only: refuse a host that is not on the public internet. Behind a proxy, only the proxy knows.

        Raises:
            WebError: there was no answer, or the host must not be contacted.
            SettingError: a proxy or a certificate that the environment names can't be used.
        """
        manager = self._manager(url, public_only)
        with self._map_errors():
            response = manager.request(
                method,
                url,
                headers={**self._headers, **(headers or {})},
                body=body,  # type: ignore[arg-type] # memoryviews are sent as well
                timeout=self._timeout if timeout is None else timeout,
                preload_content=False,
                redirect=False,
                retries=False,
            )
        return Response(response, url, self._map_errors)

    def _manager(self, url: str, public_only: bool) -> urllib3.PoolManager:
        proxy = self._rules.find(url)
        if proxy and public_only and self._is_private(urlsplit(url).hostname or ""):
            raise PrivateAddressError
        restricted, secure = public_only and not proxy, url.startswith("https:")
        key = (proxy, restricted, secure)
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._make_manager(proxy, restricted=restricted, secure=secure)
            return self._managers[key]

    def _is_private(self, host: str) -> bool:
        """Whether a host behind a proxy is not on the public internet. The proxy may know hosts that we can't find."""
        if host not in self._private:
            try:
                found = not all(map(self._guard.allows, resolve(host)))
            except NoConnectionError:
                found = False
            self._private[host] = found
        return self._private[host]

    def _make_manager(self, proxy: Proxy | None, *, restricted: bool, secure: bool) -> urllib3.PoolManager:
        context = self._context if secure else None  # to read all certificates takes longer than many a request
        options: dict[str, Any] = {"num_pools": _POOLS, "maxsize": self._connections, "ssl_context": context}
        if proxy:
            secret = ":".join(unquote(part) for part in proxy.login.split(":", 1)) if proxy.login else None
            headers = urllib3.make_headers(proxy_basic_auth=secret) if secret else None
            ours = self._context if proxy.url.startswith("https:") else None
            manager: urllib3.PoolManager = urllib3.ProxyManager(
                proxy.url, proxy_headers=headers, proxy_ssl_context=ours, **options
            )
        else:
            manager = urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = make_pools(self._guard if restricted else Guard(self._connect_timeout))
        return manager

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        if not self._verify:
            urllib3.disable_warnings(urllib3_errors.InsecureRequestWarning)
        return make_context(verify=self._verify)

    @contextlib.contextmanager
    def _map_errors(self) -> Iterator[None]:
        try:
            yield
        except urllib3_errors.HTTPError as error:
            raise to_web_error(error, self._connect_timeout) from error


def user_agent(contact: str) -> str:
    """Return the User-Agent: ``datapack/0.2.0 (+https://example.org; data@example.org)``."""
    plain = " ".join(contact.encode("ascii", "ignore").decode().replace("(", "").replace(")", "").split())
    return f"datapack/{__version__}" + (f" ({plain})" if plain else "")
