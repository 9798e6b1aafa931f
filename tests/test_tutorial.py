"""The tutorial: every command in it runs, in order, with the files that it says to write, and prints what it shows.

What a test can't have is replaced: Docker Hub's Alpine by a stand-in base, GitHub's registry by a local one. Without an
engine or a registry, the commands that need one are left out; the data then arrives as a copy of the bag.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from examples.stand_in_base import build
from tests.conftest import PROJECT, make_base
from tests.containers import engines
from tests.registries import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = PROJECT / "docs" / "tutorial.md"
_BLOCK = re.compile(r"^```(?P<kind>console|yaml)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (?P<name>\S+?)(?P<more>, added at the end)?$")
_BASE = re.compile(r"docker\.io/library/alpine\S+")
REGISTRY = "ghcr.io/your-namespace"
ELLIPSIS = "…"
MAY_FAIL = ("datapack doctor", "datapack check corals@v1")  # they find what the page talks about


@dataclass
class Reader:
    """Somebody who does what the page says."""

    folder: Path  # where the shell is
    base: str
    registry: str = ""  # empty if there is none
    environment: dict[str, str] = field(default_factory=dict)  # DOCKER_HOST is in it if there is an engine

    def follow(self, kind: str, text: str) -> None:
        """Follow one block: write its file, or run its commands."""
        if kind == "yaml":
            self._write(text)
            return
        for command, expected in _commands(text):
            if self._can(command):
                self._run(command, expected)

    def _can(self, command: str) -> bool:
        if command.startswith("datapack push"):
            return bool(self.registry)
        if command.startswith("datapack run") and "DOCKER_HOST" not in self.environment:
            shutil.copytree(self.folder / "data/corals-split", self.folder / "imported/corals-split")
            return False
        return True

    def _write(self, text: str) -> None:
        head, _, body = text.partition("\n")
        named = _FILE.fullmatch(head)
        assert named, head
        path = self.folder / named["name"]
        body = _BASE.sub(self.base, body).replace(REGISTRY, self.registry or REGISTRY)
        if path.name == "train.yml":
            lock = yaml.safe_load((self.folder / "datasets.lock").read_text())
            body = body.replace(f"sha256:{ELLIPSIS}", lock["corals-split@v1"]["digest"])
        path.write_text((path.read_text() if named["more"] else "") + body)

    def _run(self, command: str, expected: list[str]) -> None:
        """Run a command in the shell's folder, and go where it went."""
        where = self.folder / ".where"
        done = subprocess.run(
            ["bash", "-c", f'{command}\nstatus=$?; pwd >"{where}"; exit $status'],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        said = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == 0 or command in MAY_FAIL, (command, said)
        assert "Traceback" not in said, (command, said)
        for line in expected:
            pattern = ".*".join(map(re.escape, line.split(ELLIPSIS)))
            assert re.search(f"^{pattern}$", said, re.MULTILINE), (command, line, said)
        self.folder = Path(where.read_text().strip())
        where.unlink()


def _commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block, without its comment, and the lines below it, which it must print."""
    command, expected = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, expected
            command, expected = line[2:].partition("  #")[0].strip(), []
        else:
            expected.append(line)
    yield command, expected


def _programs(folder: Path) -> dict[str, str]:
    """Put this datapack and this Python first on the path; return the environment."""
    folder.mkdir()
    for name, command in (("datapack", f'"{sys.executable}" -m datapack'), ("python", f'"{sys.executable}"')):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "GIT_CEILING_DIRECTORIES": str(folder),
    }


def _stand_in_base(folder: Path) -> str:
    """Make a base that an engine can run, or, without busybox, one that can only be built on."""
    try:
        build(folder)
    except FileNotFoundError:
        make_base(folder)
    return f"oci:{folder}"


@pytest.mark.torch
@pytest.mark.timeout(900)
def test_every_command_of_the_tutorial_runs(tmp_path: Path) -> None:
    """Whoever follows the page, command by command, arrives at a trained model."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "datapack").symlink_to(PROJECT)  # the clone
    reader = Reader(work, _stand_in_base(tmp_path / "base"), environment=_programs(tmp_path / "bin"))
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(pytest.skip.Exception):
            reader.registry = f"{stack.enter_context(serve(tmp_path))}/demo"
        with contextlib.suppress(pytest.skip.Exception):
            short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True)))
            reader.environment["DOCKER_HOST"] = stack.enter_context(engines.podman(short, tmp_path / "base")).url
        for block in _BLOCK.finditer(PAGE.read_text()):
            reader.follow(block["kind"], block["text"])
    assert (work / "corals/safe_outputs/corals/report.html").exists()


def test_the_installation_of_the_start_page_is_possible() -> None:
    """The extra that the start page installs is there, and brings PyTorch."""
    page = (PROJECT / "docs" / "index.md").read_text()
    assert "pip install --editable '.[train]'" in page
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(part.startswith("torch>") for part in extras["train"])
