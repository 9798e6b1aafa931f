"""Fixtures for the tests of registries: a real one, with a proxy in front that fails on demand."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests import registries
from tests.conftest import make_catalog
from tests.proxies import Proxy
from tests.registry.pushing import BIG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Catalog


@pytest.fixture
def registry(tmp_path):
    with registries.serve(tmp_path) as name:
        yield name


@pytest.fixture
def proxy(registry):
    with Proxy(registry) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A catalog with a large file, whose version is fetched: each test pushes from a copy of it."""
    catalog = make_catalog(tmp_path_factory.mktemp("big") / "catalog")
    (catalog.root / "source/big.bin").write_bytes(os.urandom(BIG))
    catalog.ok("fetch", "reef@v1")
    return catalog


@pytest.fixture
def catalog(big: Catalog, tmp_path: Path) -> Catalog:
    return _with_a_home(big.copy(tmp_path / "catalog"))


@pytest.fixture
def unfetched(tmp_path: Path) -> Catalog:
    """A catalog for what must end before anything is fetched."""
    return _with_a_home(make_catalog(tmp_path / "catalog"))


def _with_a_home(catalog: Catalog) -> Catalog:
    """Keep the user's own credentials out."""
    home = catalog.root.parent / "home"
    home.mkdir()
    catalog.env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    return catalog


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let processes that a test starts receive Ctrl-C, even if the tests run as a background job, which ignores it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def impatient(monkeypatch):
    """Retry without a pause."""
    for module in ("client", "repository", "retry", "upload"):
        monkeypatch.setattr(f"datapack.registry.{module}.backoff", lambda *_: 0.0)


@pytest.fixture
def push_here(catalog, monkeypatch, impatient, capsys):
    """A function that pushes in this process and returns the exit status and the errors."""
    from datapack.cli import main

    for name, value in catalog.env.items():
        monkeypatch.setenv(name, value)

    def push(name: str, *arguments: str) -> tuple[int, str]:
        previous = signal.getsignal(signal.SIGTERM)
        status = main(["-C", str(catalog.root), "push", "reef@v1", "--to", f"docker://{name}/reef", *arguments])
        signal.signal(signal.SIGTERM, previous)
        return status, capsys.readouterr().err

    return push
