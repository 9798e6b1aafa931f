"""Where the commands of the pages run: a folder with the reef, and stand-ins for what a test can't have."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from examples.stand_in_base import build as build_base
from tests.conftest import PROJECT
from tests.containers import engines, sid
from tests.containers.apptainer import write_program
from tests.registries import serve
from tests.registry.clients import FOLDER, NAMES, clients

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = FOLDER / "usr/bin"
REGISTRIES = re.compile(r"ghcr\.io/(your-namespace|NAMESPACE|you)\b")
BASE = re.compile(r"docker\.io/library/alpine:[\w.]+@sha256:[0-9a-f]{64}")
NEEDS_ENGINE = re.compile(r"\bdatapack run\b(?!.*--launch apptainer)|docker-daemon:|^(podman|docker) ", re.MULTILINE)
NEEDS_REGISTRY = re.compile(rf"{REGISTRIES.pattern}|docker://|\bdatapack push\b")
NEEDS_CLIENTS = re.compile(r"^(crane|oras|cosign) ", re.MULTILINE)
NEEDS_APPTAINER = re.compile(r"--launch apptainer|^apptainer ", re.MULTILINE)
CATALOG = """\
defaults:
  base: docker.io/library/alpine:3.22.2@sha256:4b7ce07002c69e8f3d704a9c5d6fd3053be500b7f1c69fc0d80990c2ad8dd412
  registry: ghcr.io/your-namespace
datasets:
  fathom24:  # the names that guides use, with the files of the reef
    title: Fathom24, annotated images of the deep sea
    licence: CC-BY-NC-ND-4.0
    private: false
    versions:
      v1:
        sources:
          - local: examples/reef/train.json
          - local: examples/reef/images
            into: images/train
      v2:
        parent: v1
        sources:
          - local: examples/reef/train.json
          - local: examples/reef/images
            into: images/train
          - local: examples/reef/README.md
  fathom24-mini:
    title: 20 images of Fathom24
    licence: CC-BY-NC-ND-4.0
    private: false
    versions:
      v1:
        sources:
          - subset: fathom24@v1
            count: 20
  reef:
    title: Drawn animals of a reef, a small dataset to try things out with
    licence: CC0-1.0
    publisher: the datapack project
    contact: Jo Data, jo@example.org
    versions:
      v1:
        sources:
          - local: examples/reef/train.json
          - local: examples/reef/images
            into: images
      v2:
        parent: v1
        sources:
          - local: examples/reef/train.json
          - local: examples/reef/images
            into: images
          - local: examples/reef/README.md
"""


@dataclass
class Stage:
    """What all pages share: a prepared folder, its base, programs, and servers that are started once."""

    root: Path
    stack: contextlib.ExitStack
    environment: dict[str, str] = field(default_factory=dict)
    host: str = ""  # of the registry; empty until a page needs it
    pages: int = 0

    @property
    def registry(self) -> str:
        """The namespace of the page: what one page pushed, no other sees."""
        return f"{self.host}/page-{self.pages}" if self.host else ""

    @property
    def base(self) -> str:
        """The base that stands in for Alpine."""
        return f"oci:{self.root / 'base'}"

    def start(self, commands: str) -> None:
        """Start what these commands need; skip the test where that is not installed."""
        self.pages += 1
        if NEEDS_REGISTRY.search(commands) and not self.host:
            self.host = self.stack.enter_context(serve(self.root))
        if NEEDS_ENGINE.search(commands) and "DOCKER_HOST" not in self.environment:
            folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="dp-", ignore_cleanup_errors=True))
            engine = self.stack.enter_context(engines.podman(Path(folder), self.root / "base"))
            self.environment["DOCKER_HOST"] = engine.url
            settings = " ".join(f"{name}='{value}'" for name, value in engine.environment.items())
            program, *options = engine.command
            path = shutil.which(
                program
            )  # in full: the program of this name on the shell's path is the one written here
            _program(self.root / "bin/podman", f"env {settings} {path} {' '.join(options)}")
        if NEEDS_CLIENTS.search(commands):
            clients(self.root)
            for name in NAMES:
                _program(self.root / "bin" / name, str(BIN / name))
        if NEEDS_APPTAINER.search(commands) and not (self.root / "bin/apptainer").exists():
            machine = self.stack.enter_context(sid.machine(processes=False))
            write_program(machine, self.root / "bin")

    def translate(self, text: str) -> str:
        """Put the stand-ins into what a page says."""
        return REGISTRIES.sub(self.registry or "127.0.0.1:1/none", BASE.sub(self.base, text))

    def shown(self, output: str) -> str:
        """Return an output as a page shows it, with the names of the real registry."""
        return output.replace(self.registry, "ghcr.io/your-namespace") if self.registry else output

    def copy(self, folder: Path) -> Path:
        """Make the folder in which a page starts."""
        subprocess.run(["cp", "--archive", self.root / "work", folder], check=True)
        catalog = folder / "datasets.yml"
        catalog.write_text(catalog.read_text().replace("ghcr.io/your-namespace", self.registry or "127.0.0.1:1/none"))
        return folder


@contextlib.contextmanager
def stage(root: Path) -> Iterator[Stage]:
    """Prepare the folder and the programs; stop the servers at the end."""
    with contextlib.ExitStack() as stack:
        build_base(root / "base")
        (root / "bin").mkdir()
        for name, module in (("datapack", "-m datapack"), ("python", ""), ("python3", "")):
            _program(root / "bin" / name, f'"{sys.executable}" {module}')
        made = Stage(root, stack, _environment(root))
        _make_work(made)
        yield made


def _make_work(stage: Stage) -> None:
    """Make a git repository with the reef, and build ``reef@v1`` and ``fathom24@v1`` in it."""
    work = stage.root / "work"
    shutil.copytree(PROJECT / "examples/reef", work / "examples/reef", ignore=shutil.ignore_patterns("__pycache__"))
    (work / "datasets.yml").write_text(BASE.sub(stage.base, CATALOG))
    for command in (
        "git init --quiet",
        "datapack build reef@v1",
        "datapack build fathom24@v1",
        "git add .",
        "git commit --quiet --message 'The reef'",
    ):
        done = subprocess.run(
            ["bash", "-c", command], cwd=work, env=stage.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)


def _environment(root: Path) -> dict[str, str]:
    """Return the variables of the shell: a home of its own, and a proxy that leads nowhere."""
    home = root / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n  name = Jo Data\n  email = jo@example.org\n[init]\n  defaultBranch = main\n"
    )
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return {
        **{
            name: os.environ[name]
            for name in ("LANG", "LC_ALL", "TMPDIR", "DATAPACK_REQUIRE_ENGINES")
            if name in os.environ
        },
        **proxies,
        "no_proxy": "127.0.0.1,localhost",
        "PATH": f"{root / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "PYTHONPATH": str(PROJECT),
        "COSIGN_PASSWORD": "",
    }


def _program(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)
