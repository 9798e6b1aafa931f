"""Sockets that keep a server to a deadline and a minimum rate.

Everything that a connection sends and receives passes here, so no answer can go on for ever: not one that sends a byte
now and then, nor endless ``100 Continue``, headers or trailers. Only the time spent waiting for the server counts, not
ours, for example while the disk is slow.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from datapack.web.errors import InvalidAnswerError, TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

SLOWEST = 1000  # bytes a second, as average over the patience
_HEADERS = 256 << 10  # bytes that an answer may send before its body
_UNDELIVERED = 1 << 20  # bytes of a body without any content: chunk extensions and trailers
_SEND = 64 << 10  # bytes at once: even a slow line takes them within the patience
_NO_PATIENCE = 3600.0  # seconds; every connection sets its own


class PacedSocket(socket.socket):
    """A TCP connection. Its ``settimeout`` sets its patience: the seconds of waiting that each of these may take.

    - all headers of an answer;
    - each `SLOWEST` times patience bytes of what is sent, or of the content of a body.
    """

    _patience = _NO_PATIENCE
    _waited = 0.0  # seconds
    _moved = 0  # bytes that count in these seconds
    _is_silent = True  # whether nothing at all was sent or received in them
    _in_headers = False
    _allowance: float = _HEADERS  # bytes that may come before any content

    def settimeout(self, value: float | None, /) -> None:
        self._patience = _NO_PATIENCE if value is None else value
        super().settimeout(value)

    def gettimeout(self) -> float | None:
        return self._patience  # a TLS handshake gets all of it

    def expect_headers(self) -> None:
        """Begin to wait for the headers of an answer."""
        self._in_headers, self._allowance = True, _HEADERS
        self._begin()

    def expect_body(self, *, limited: bool = True) -> None:
        """Begin to send a request, or to wait for the body of an answer; ``limited`` if `delivered` will be called."""
        self._in_headers, self._allowance = False, _UNDELIVERED if limited else math.inf
        self._begin()

    def delivered(self, count: int) -> None:
        """Note how many of the received bytes are content, and not headers, sizes of chunks, or trailers."""
        self._allowance = _UNDELIVERED
        self._count(count)

    def _begin(self) -> None:
        self._waited, self._moved, self._is_silent = 0.0, 0, True

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        content: bytes = self._wait(lambda: super(PacedSocket, self).recv(bufsize, flags))
        self._count_received(len(content))
        return content

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        count: int = self._wait(lambda: super(PacedSocket, self).recv_into(buffer, nbytes, flags))
        self._count_received(count)
        return count

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        count: int = self._wait(lambda: super(PacedSocket, self).send(data, flags))
        self._is_silent = False
        self._count(count)
        return count

    def sendall(self, data: Buffer, flags: int = 0, /) -> None:
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            at += self.send(view[at : at + _SEND], flags)

    def _wait(self, act: Callable[[], Any]) -> Any:
        began = time.monotonic()
        left = self._patience - self._waited
        if left <= 0:
            raise self._too_slow()
        super().settimeout(left)
        try:
            return act()
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            self._waited += time.monotonic() - began

    def _too_slow(self) -> TransferError:
        if self._is_silent:
            return TransferError(f"silent for {self._patience:g} s")
        if self._in_headers:
            return TransferError(f"no complete headers within {self._patience:g} s")
        return TransferError(f"under {SLOWEST:,} bytes a second")

    def _count_received(self, count: int) -> None:
        self._is_silent = False
        self._allowance -= count
        if self._allowance < 0:
            raise InvalidAnswerError("endless headers" if self._in_headers else "a body without content")
        if self._allowance == math.inf:
            self._count(count)

    def _count(self, count: int) -> None:
        self._moved += count
        if self._moved >= SLOWEST * self._patience:
            self._begin()


class PacedTLSSocket(PacedSocket, ssl.SSLSocket):  # type: ignore[misc] # its methods name their parameters differently
    """A TLS connection."""
