"""Shared parts of the tests of rehearsals."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.containers.engines import PROJECT, STAND_IN, Engine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CATALOG = """
defaults: {{base: "oci:{base}"}}
datasets:
  reef: {{title: A reef, licence: CC0-1.0, versions: {{v1: {{sources: [{{local: files}}]}}}}}}
"""
FILES = {f"{number}.bin": bytes([number]) * 100_000 for number in range(20)}
LABEL = "datapack.rehearsal"


@dataclass
class Stage:
    """A catalog's folder with ``reef@v1`` built in it, and the engine that rehearses it."""

    root: Path
    engine: Engine
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  # the command that runs datapack

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self.prefix, sys.executable, "-m", "datapack", *arguments]
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=240
        )

    def ok(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.run("run", *arguments)
        assert done.returncode == 0, (done.stdout, done.stderr)
        self.nothing_is_left()
        return done

    def fails(self, status: int, *arguments: str) -> str:
        """Run a rehearsal that must fail with one clear line; return that line."""
        done = self.run("run", *arguments)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
        self.nothing_is_left()
        return line

    def sh(self, script: str, *options: str) -> list[str]:
        """Return the arguments that rehearse a script on the stand-in base."""
        return [*options, STAND_IN, "--", "sh", "-c", script]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "datapack", "run", *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(PROJECT), "DOCKER_HOST": self.engine.url, **self.env}

    def containers(self) -> list[str]:
        return self.engine.run("ps", "--all", "--quiet", "--filter", f"label={LABEL}").stdout.split()

    def nothing_is_left(self) -> None:
        """Assert that no container, scratch folder or lock outlives a rehearsal."""
        assert self.containers() == []
        kept = {path.name for path in self.root.glob("dist/rehearsals/*/*/*")}
        assert kept <= {"safe_outputs", "safe_data"}

    def kept(self) -> Path:
        """Return the folder of the last rehearsal."""
        return max(self.root.glob("dist/rehearsals/*/*"), key=lambda path: path.stat().st_mtime_ns)


def build_reef(root: Path, base: Path, files: Mapping[str, bytes] = FILES) -> None:
    """Make ``root`` a catalog's folder and build ``reef@v1`` of these files in it, without any engine."""
    (root / "datasets.yml").write_text(CATALOG.format(base=base))
    for name, content in files.items():
        path = root / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    command = [sys.executable, "-m", "datapack", "build", "reef@v1"]
    subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(PROJECT)}, check=True, capture_output=True)
