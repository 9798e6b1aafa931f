"""A proxy that answers in the name of any https host, so that the addresses of public services can be tested."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
from typing import TYPE_CHECKING

from tests.servers import RawServer, Reply, read_head

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
    from pathlib import Path

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def make_certificate(folder: Path, hosts: Iterable[str]) -> tuple[Path, Path]:
    """Make a certificate for these hosts, and its key."""
    certificate, key = folder / "web.pem", folder / "web.key"
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    command += ["-addext", f"subjectAltName={names}", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def as_json(content: object, status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status, {"Content-Type": "application/json"})


class FakeWeb:
    """Answers each URL with its reply; other URLs get a 404 in JSON. ``requests`` has the URLs and the headers."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        self.certificate = certificate[0]
        self.replies: dict[str, Reply] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._server = RawServer(self._talk)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program uses this proxy and trusts it."""
        bundle = str(self.certificate)
        return {
            "https_proxy": self._server.url,
            "http_proxy": self._server.url,
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": bundle,
        }

    @property
    def urls(self) -> list[str]:
        return [url for url, _ in self.requests]

    def __enter__(self) -> FakeWeb:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def _talk(self, connection: socket.socket) -> None:
        method, target, _ = read_head(connection).split(" ", 2)
        assert method == "CONNECT"
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        origin = f"https://{target.removesuffix(':443')}"
        with self._context.wrap_socket(connection, server_side=True) as secure, contextlib.suppress(ConnectionError):
            while True:
                self._answer(origin, secure)

    def _answer(self, origin: str, connection: ssl.SSLSocket) -> None:
        first, *lines = read_head(connection).split("\r\n")
        url = origin + first.split(" ")[1]
        headers = dict(line.split(": ", 1) for line in lines if line)
        self.requests.append((url, headers))
        reply = self.replies.get(url, as_json({"message": "not found"}, 404))
        head = {"Content-Length": str(len(reply.body)), **reply.headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        connection.sendall(f"HTTP/1.1 {reply.status} X\r\n{text}\r\n".encode() + reply.body)
