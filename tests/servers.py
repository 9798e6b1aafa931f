"""Servers on 127.0.0.1 for tests: one that misbehaves on demand, and a stand-in for Kaggle, which tests can't use."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


def png(width: int = 8, height: int = 6, seed: int = 0) -> bytes:
    """Make a complete PNG file; another seed gives another image of the same size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([seed % 256]) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@dataclass(frozen=True)
class Reply:
    """A response, sent after ``seconds``.

    ``cut`` closes the connection after this many bytes of the body. Without ``length`` there is no Content-Length.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    length: bool = True
    seconds: float = 0.0


NOT_FOUND = Reply(b"<!DOCTYPE html><title>Not found</title>", status=404, headers={"Content-Type": "text/html"})


def redirect(target: str, status: int = 302) -> Reply:
    return Reply(status=status, headers={"Location": target})


class Server:
    """Answers each path with its replies in turn, then always with the last one; other paths give a 404.

    ``requests`` counts the requests per path, ``at`` has their times, ``most_at_once`` is the most simultaneous ones.
    """

    def __init__(
        self, replies: Mapping[str, Reply | list[Reply]] | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: Counter[str] = Counter()
        self.at: dict[str, list[float]] = defaultdict(list)
        self.headers: list[Mapping[str, str]] = []
        self.most_at_once = 0
        self._active = 0
        self._lock = threading.Lock()
        self._http = _Quiet((host, port), self._handler())
        for path, given in (replies or {}).items():
            self.reply(path, given)

    def reply(self, path: str, given: Reply | list[Reply]) -> None:
        self.replies[path] = list(given) if isinstance(given, list) else [given]

    @property
    def url(self) -> str:
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, path: str) -> Reply:
        """Choose the reply to a request."""
        with self._lock:
            queue = self.replies.get(path, [NOT_FOUND])
            return queue.pop(0) if len(queue) > 1 else queue[0]

    @contextlib.contextmanager
    def counted(self, path: str, headers: Mapping[str, str]) -> Iterator[None]:
        with self._lock:
            self.requests[path] += 1
            self.at[path].append(time.monotonic())
            self.headers.append(dict(headers))
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # or the client waits 40 ms for the body
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)  # a client that uses this server as its proxy sends complete URLs
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                with server.counted(path, self.headers):
                    reply = server.answer(self, path)
                    time.sleep(reply.seconds)
                    self.send(reply)

            def do_POST(self) -> None:
                self.do_GET()

            def send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                length = {"Content-Length": str(len(reply.body))} if reply.length else {}
                for name, value in {**length, **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(reply.body[: reply.cut])
                    self.wfile.flush()
                self.close_connection = reply.cut is not None or not reply.length

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect: tests kill some."""


class RawServer:
    """Answers each connection with what ``talk`` does to its socket, which no HTTP library would do.

    With ``certificate``, a file and its key, it speaks TLS.
    """

    def __init__(
        self, talk: Callable[[socket.socket], None], certificate: tuple[Path, Path] | None = None, port: int = 0
    ) -> None:
        self.talk = talk
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._context and certificate:
            self._context.load_cert_chain(*certificate)

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context:
                with self._context.wrap_socket(connection, server_side=True) as secure:
                    self.talk(secure)
            else:
                self.talk(connection)


def read_head(connection: socket.socket) -> str:
    """Read a request up to the empty line after its headers."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        if not part:
            raise ConnectionError
        head += part
    return head.decode()


class FakeKaggle(Server):
    """A stand-in for Kaggle, as kagglehub's client talks to it.

    It serves competitions and datasets, checks the token, and sends the md5 as Kaggle's storage does. `environment`
    makes Kaggle's client use ``localhost`` through this server as its proxy; 127.0.0.1 is used without a proxy.
    """

    TOKEN = "KGAT_a_token_for_tests"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self.files = dict(files)
        self.first: list[Reply] = []  # replies to give before any file
        self.damaged = 0  # the number of files to send damaged at first

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "KAGGLE_API_TOKEN": self.TOKEN,
            "http_proxy": self.url,
            "no_proxy": "127.0.0.1",
        }

    def answer(self, handler: BaseHTTPRequestHandler, path: str) -> Reply:
        content = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if path.startswith("/storage/"):
            return self._stored(unquote(path.removeprefix("/storage/")))
        if self.first:
            return self.first.pop(0)
        if handler.headers.get("Authorization") not in {f"Bearer {self.TOKEN}", _basic("user", "key")}:
            return _json({"code": 401, "message": "Unauthorized"}, 401)
        request = json.loads(content)
        if path.endswith("/datasets.DatasetApiService/GetDataset"):
            return _json({"currentVersionNumber": 3})
        name = request["fileName"]
        if name not in self.files:
            return _json({"code": 404, "message": "Not found"}, 404)
        return redirect(f"http://localhost/storage/{quote(name)}")

    def _stored(self, name: str) -> Reply:
        body = self.files[name]
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        if self.damaged:
            self.damaged -= 1
            body = body[:-1] + b"?"
        return Reply(body, headers={"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}", "Content-Type": "text/plain"})


def _json(content: object, status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status, {"Content-Type": "application/json"})


def _basic(user: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()
