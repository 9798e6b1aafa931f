"""A clone of the project in which tests run targets of the Makefile, as the workflows do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT


@dataclass(frozen=True)
class Clone:
    """A clone of the project, as far as the targets need it, whose programs are the installed ones."""

    root: Path
    variables: dict[str, str]

    def make(self, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a target with variables in its environment, as a workflow does."""
        command = ["make", "--silent", target]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), **self.variables, **variables}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def ok(self, target: str, **variables: str) -> str:
        done = self.make(target, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fails(self, target: str, **variables: str) -> str:
        """Return the one line with which a target fails."""
        done = self.make(target, **variables)
        assert done.returncode != 0, done.stdout
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in done.stderr
        return line


def make_clone(root: Path, **variables: str) -> Clone:
    """Copy what the targets need; mark what they would install as installed."""
    for name in ("scripts", "examples", "docker"):
        shutil.copytree(PROJECT / name, root / name)
    for name in ("Makefile", "datasets.yml", "pyproject.toml", ".trivyignore.yaml"):
        shutil.copy(PROJECT / name, root)
    (root / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name not in {"ready", "trivy"}:
            (root / ".venv" / path.name).symlink_to(path)
    for name in ("ready", "trivy"):
        (root / ".venv" / name).touch()
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return Clone(root, variables)
