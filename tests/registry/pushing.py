"""Shared parts of the tests of pushes. Whatever happens, datapack never reports a push that can't be verified."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from tests.conftest import Catalog, fact
from tests.proxies import Proxy
from tests.registries import PASSWORD, USER

if TYPE_CHECKING:
    from tests import proxies

BIG = 3_000_000  # bytes of the one large file: enough for a connection to be cut in


def log_in(catalog: Catalog, registry: str, password: str = PASSWORD) -> None:
    """Store a credential where `docker login` does."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    write_docker_config(catalog, {"auths": {registry: {"auth": auth}}})


def write_docker_config(catalog: Catalog, settings: object) -> Path:
    config = Path(catalog.env["HOME"]) / ".docker/config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(settings))
    return config


def pull_and_verify(catalog: Catalog, name: str, folder: Path) -> None:
    """Pull with skopeo, which checks each digest; verify the copy and what the registry has."""
    command = ["skopeo", "copy", "-q", "--preserve-digests", "--src-tls-verify=false", f"docker://{name}"]
    subprocess.run([*command, f"oci:{folder}:v1"], check=True)
    assert catalog.ok("verify", f"oci:{folder}").startswith("verified, every byte")
    assert catalog.ok("verify", f"docker://{name}").startswith("verified, every byte")


def image_of(output: str) -> str:
    return fact(output, "image").partition("@")[2]


class TokenService(Proxy):
    """A registry that requires bearer tokens, each valid for ``uses`` requests; it takes passwords and ID tokens."""

    def __init__(self, upstream: str, uses: int = 1000) -> None:
        super().__init__(upstream)
        self.uses, self.given = uses, dict[str, int]()
        self.scopes: list[str] = []
        self.add("GET", r"^/token", self._exchange_password, times=10**9)
        self.add("POST", r"^/token", self._exchange_identity_token, times=10**9)
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"):
            self.add(method, r"^/v2/", self._check, times=10**9)

    def _exchange_password(self, exchange: proxies.Exchange) -> None:
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.scopes.append(exchange.handler.path)
        self._give("token", exchange, exchange.handler.headers.get("Authorization") == f"Basic {basic}")

    def _exchange_identity_token(self, exchange: proxies.Exchange) -> None:
        form = dict(parse_qsl(exchange.body().decode()))
        self.scopes.append(form["scope"])
        known = (form["grant_type"], form["refresh_token"], form["service"]) == ("refresh_token", PASSWORD, "tests")
        self._give("access_token", exchange, known)

    def _give(self, name: str, exchange: proxies.Exchange, known: bool) -> None:
        if not known:
            exchange.answer(401, [], b"")
            return
        token = f"token-{len(self.given)}-secret"
        self.given[token] = self.uses
        exchange.answer(200, [], json.dumps({name: token}).encode())

    def _check(self, exchange: proxies.Exchange) -> None:
        token = exchange.handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.given.get(token, 0) < 1:
            challenge = f'Bearer realm="http://{self.name}/token",service="tests",scope="repository:reef:pull"'
            exchange.body()
            exchange.answer(401, [("WWW-Authenticate", challenge)], b"")
            return
        self.given[token] -= 1
        exchange.answer(*exchange.forward())
