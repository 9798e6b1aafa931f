"""The commands of the container guide that run an image, as a reviewer copies them from the record."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from datapack.ingress.guide import RULES
from datapack.ingress.image_rules import recheck

if TYPE_CHECKING:
    from pathlib import Path

    from tests.containers.engines import Engine


def test_podman_shows_what_the_evidence_says(podman: Engine, stand_in_base: Path, built: Path, tmp_path: Path) -> None:
    """Folders are empty, only root could change the programs, the import ends well; no older image is used."""
    shutil.copytree(stand_in_base, tmp_path / "image")
    program = tmp_path / "podman"  # with the store of these tests
    program.write_text(f'#!/bin/sh\nexec {shutil.which("podman")} {shlex.join(podman.command[1:])} "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, **podman.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    older = ["podman", "pull", "oci:image"]
    subprocess.run(older, cwd=tmp_path, env=environment, check=True)
    shutil.rmtree(tmp_path / "image")
    shutil.copytree(built / "dist" / "reef-v1", tmp_path / "image")
    shown = {}
    for rule in RULES:
        command = recheck(rule, "oci:image")
        if command.startswith("podman "):
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, shell=True, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            shown[rule.key] = done.stdout.splitlines()
    assert shown.keys() == {"directories", "executables", "offline"}
    folders = [line for line in shown["directories"] if line.strip()]
    assert folders == ["/safe_data:", "total 0", "/safe_outputs:", "total 0", "/scratch:", "total 0"]
    programs = [line.split() for line in shown["executables"] if "import" in line]
    assert {tuple(fields[index] for index in (0, 2, 3)) for fields in programs} == {("-r-xr-xr-x", "root", "root")}
    assert shown["offline"][-1].startswith("IMPORT OK ")
