"""Connections that check an address before they connect to it, and connect to exactly the address that was checked."""

from __future__ import annotations

import http.client
import socket
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from datapack.web.errors import NoConnectionError, PrivateAddressError
from datapack.web.sockets import PacedSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ALL_ADDRESSES = 3  # connect timeouts that all addresses of a host together may take


@dataclass(frozen=True)
class Address:
    """An address that a host name stands for."""

    family: int
    target: tuple[Any, ...]  # what `socket.connect` takes

    @property
    def ip(self) -> str:
        return str(self.target[0])


def resolve(host: str, port: int | None = None) -> list[Address]:
    """Return the addresses of a host; raise `NoConnectionError` if it has none."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoConnectionError("host name not found") from error
    return list(dict.fromkeys(Address(family, target) for family, _, _, _, target in found))


@dataclass(frozen=True)
class Guard:
    """The rule for new connections.

    With ``is_public`` they lead only to public addresses, unless through a proxy. ``notes_content``: whether the reader
    of a body calls its ``delivered`` after each part, so that a body without content can be seen.
    """

    connect_timeout: float
    is_public: Callable[[str], bool] | None = None
    notes_content: bool = True

    def allows(self, address: Address) -> bool:
        """Whether an address may be connected to."""
        return self.is_public is None or self.is_public(address.ip)

    def connect(self, addresses: Sequence[Address], options: Sequence[Any]) -> PacedSocket:
        """Connect to the first address that accepts it. The socket still has the timeout for connecting."""
        end = time.monotonic() + _ALL_ADDRESSES * self.connect_timeout
        failure: OSError | None = None
        for address in addresses:
            left = min(self.connect_timeout, end - time.monotonic())
            if left <= 0:
                break
            try:
                return _connect(address, left, options)
            except OSError as error:
                failure = error
        reason = f"no connection within {self.connect_timeout:g} s"
        if failure and not isinstance(failure, TimeoutError):
            reason = (failure.strerror or "no connection").lower()  # the system's wording
        raise NoConnectionError(reason) from failure


def _connect(address: Address, timeout: float, options: Sequence[Any]) -> PacedSocket:
    connection = PacedSocket(address.family, socket.SOCK_STREAM)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(timeout)
        connection.connect(address.target)
        connection.expect_headers()  # those of a proxy's answer to CONNECT, if there is one
    except BaseException:
        connection.close()
        raise
    return connection


class _Answer(http.client.HTTPResponse):
    """The answer to a request. Those before it that only inform, such as 103 Early Hints, are skipped, as by curl."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc] # typeshed lacks it
            if not HTTPStatus.SWITCHING_PROTOCOLS < status < HTTPStatus.OK:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _Connection(HTTPConnection):
    """A connection that follows a `Guard` and keeps its server to its deadlines."""

    guard: ClassVar[Guard]
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        options = self.socket_options or ()
        if self.proxy is None:
            addresses = resolve(self._dns_host, self.port)  # with the dot that ends a complete name
            if not all(map(self.guard.allows, addresses)):
                raise PrivateAddressError
            return self.guard.connect(addresses, options)
        try:
            return self.guard.connect(resolve(self._dns_host, self.port), options)
        except NoConnectionError as error:
            raise NoConnectionError("the proxy gave no connection") from error

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.timeout)
        _paced(self.sock).expect_body()

    def request(self, *args: Any, **options: Any) -> None:
        if self.sock is not None:
            _paced(self.sock).expect_body()
        super().request(*args, **options)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as in urllib3
        paced = _paced(self.sock)
        paced.expect_headers()
        response = super().getresponse()
        paced.expect_body(limited=self.guard.notes_content)
        response.delivered = paced.delivered  # type: ignore[attr-defined] # for `client.Response`
        return response


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


def _paced(sock: Any) -> PacedSocket:
    """Return the socket that all bytes of a connection pass through. TLS inside the TLS of a proxy wraps it."""
    found = sock if isinstance(sock, PacedSocket) else sock.socket
    assert isinstance(found, PacedSocket)  # noqa: S101 - otherwise there would be no deadline
    return found


def make_pools(guard: Guard) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return urllib3's classes of connection pools, by scheme, whose connections follow a guard."""
    plain = type("Connection", (_Connection,), {"guard": guard})
    secure = type("SecureConnection", (_SecureConnection,), {"guard": guard})
    return {
        "http": type("Pool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
