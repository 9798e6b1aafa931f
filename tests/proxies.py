"""A proxy in front of a registry, on 127.0.0.1, that fails on demand."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 1 << 16
TLS = b"\x16"  # the first byte of a TLS connection


class HangUpError(Exception):
    """The proxy closes the connection without an answer."""


@dataclass
class Fault:
    """What happens to matching requests: the first `skip` pass, the next `times` fail."""

    method: str
    path: str  # a regular expression, searched in the path with its query
    act: Callable[[Exchange], None]
    times: int = 1
    skip: int = 0

    def takes(self, method: str, path: str) -> bool:
        if not self.times or method != self.method or not re.search(self.path, path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Exchange:
    """One request on its way to the registry, and the answer on its way back."""

    def __init__(self, handler: BaseHTTPRequestHandler, upstream: str) -> None:
        self.handler, self.upstream = handler, upstream
        self.answered = 0  # bytes of the answer's body
        self.length = int(handler.headers.get("Content-Length") or 0)

    def body(self, fraction: float = 1.0) -> bytes:
        """Read this fraction of the request's body."""
        return self.handler.rfile.read(int(self.length * fraction))

    def forward(self, body: bytes | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send the request to the registry; return the status, headers and body of its answer."""
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        given = self.handler.headers
        headers = {name: ", ".join(given.get_all(name, [])) for name in given}  # a client may repeat a header
        connection.request(self.handler.command, self.handler.path, self.body() if body is None else body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.getheaders(), content

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, sent: float = 1.0) -> None:
        """Answer the client; the connection breaks after the fraction ``sent`` of the body."""
        self.handler.send_response(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.handler.send_header(name, value)
        head = self.handler.command == "HEAD"
        announced = [value for name, value in headers if name.lower() == "content-length"]
        for length in announced if head else [str(len(content))]:
            self.handler.send_header("Content-Length", length)
        self.handler.end_headers()
        if not head:
            self.answered = self.handler.wfile.write(content[: int(len(content) * sent)])
        if sent < 1:
            self.handler.wfile.flush()
            raise HangUpError


def refuse(status: int, code: str = "", headers: dict[str, str] | None = None, read: float = 1.0):
    """Answer with an error after reading this fraction of the body."""

    def act(exchange: Exchange) -> None:
        exchange.body(read)
        content = json.dumps({"errors": [{"code": code, "message": "says the test"}]}).encode() if code else b""
        exchange.answer(status, list((headers or {}).items()), content)
        if read < 1:
            exchange.handler.close_connection = True

    return act


def cut_upload(fraction: float):
    """Close the connection after this fraction of the request's body, without an answer."""

    def act(exchange: Exchange) -> None:
        exchange.body(fraction)
        raise HangUpError

    return act


def cut_download(fraction: float):
    """Close the connection after this fraction of the answer's body."""

    def act(exchange: Exchange) -> None:
        exchange.answer(*exchange.forward(), sent=fraction)

    return act


def lose_answer(exchange: Exchange) -> None:
    """Forward the request, and close the connection before the answer."""
    exchange.forward()
    raise HangUpError


def flip_in_upload(exchange: Exchange) -> None:
    """Change a byte of the request's body."""
    exchange.answer(*exchange.forward(_flipped(exchange.body())))


def flip_in_download(exchange: Exchange) -> None:
    """Change a byte of the answer's body."""
    status, headers, content = exchange.forward()
    exchange.answer(status, headers, _flipped(content))


def replace_header(header: str, value: str | None = None):
    """Change a header of the answer; without a value, leave it out."""

    def act(exchange: Exchange) -> None:
        status, headers, content = exchange.forward()
        kept = [pair for pair in headers if pair[0].lower() != header.lower()]
        exchange.answer(status, kept if value is None else [*kept, (header, value)], content)

    return act


def replace_status(status: int):
    """Change the status of the answer."""

    def act(exchange: Exchange) -> None:
        exchange.answer(status, *exchange.forward()[1:])

    return act


def answer(status: int, headers: dict[str, str] | None = None, content: bytes = b""):
    """Give this answer, whatever was asked."""

    def act(exchange: Exchange) -> None:
        exchange.body()
        exchange.answer(status, list((headers or {}).items()), content)

    return act


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


class Proxy:
    """Forwards requests to ``upstream`` (host:port) unless a fault matches; ``requests`` counts them by method."""

    def __init__(self, upstream: str) -> None:
        self.upstream, self.faults, self.requests = upstream, list[Fault](), Counter[str]()
        self.headers: list[dict[str, str]] = []
        self.sent = self.received = 0  # bytes in the bodies of requests and of answers
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", 0), self._handler())

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, method: str, path: str, act: Callable[[Exchange], None], times: int = 1, skip: int = 0) -> None:
        self.faults.append(Fault(method, path, act, times, skip))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # or the client waits 40 ms for the body
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                if self.rfile.peek(1)[:1] == TLS:  # Docker tries TLS first, and expects that a registry says so in HTTP
                    self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                    self.close_connection = True
                    return
                super().handle_one_request()

            def handle_any(self) -> None:
                exchange = Exchange(self, proxy.upstream)
                with proxy._lock:
                    proxy.requests[self.command] += 1
                    proxy.headers.append(dict(self.headers.items()))
                    proxy.sent += exchange.length
                    fault = next((fault for fault in proxy.faults if fault.takes(self.command, self.path)), None)
                try:
                    if fault:
                        fault.act(exchange)
                    else:
                        exchange.answer(*exchange.forward())
                    with proxy._lock:
                        proxy.received += exchange.answered
                except HangUpError:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self.handle_any
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                pass

            def finish(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

        return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnected."""
