"""Fixtures of the tests that need a container engine; each worker of pytest-xdist has engines and stores of its own."""

from __future__ import annotations

import contextlib
import runpy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import engines
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def stand_in_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the OCI layout of a base made of the busybox that is installed here."""
    if not Path("/bin/busybox").exists():
        engines.unavailable("busybox-static is not installed")
    layout = tmp_path_factory.mktemp("stand-in-base")
    runpy.run_path(str(engines.PROJECT / "examples" / "stand_in_base.py"))["build"](layout)
    return layout


@pytest.fixture(scope="session")
def podman(stand_in_base: Path) -> Iterator[engines.Engine]:
    """Give podman, with a store of its own and its Docker API at ``url``."""
    with _short_folder() as folder, engines.podman(folder, stand_in_base) as engine:
        yield engine


@pytest.fixture(scope="session")
def docker(stand_in_base: Path) -> Iterator[engines.Engine]:
    """Give Docker, with a daemon of its own."""
    with _short_folder() as folder, engines.docker(folder, stand_in_base) as engine:
        yield engine


@contextlib.contextmanager
def _short_folder() -> Iterator[Path]:
    """Make a folder for an engine: pytest's own are too deep for the 108 characters of a socket's path."""
    with tempfile.TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    """Give each engine in turn."""
    given: engines.Engine = request.getfixturevalue(request.param)
    return given
