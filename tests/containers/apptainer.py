"""Apptainer itself, from Debian sid: images as SIF files, run by an ordinary user."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.containers.sid import RESEARCHER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.containers.sid import Machine

HOME = "/home/researcher"
# Root's processes appear as the researcher's in this user namespace: to files here they are datapack's own user, and to
# apptainer they are an ordinary user. A signal for the script reaches apptainer.
_PROGRAM = """#!/bin/sh
exec {machine} unshare --user --map-user={user} --map-group={user} env HOME={home} /usr/bin/apptainer "$@"
"""
_RESEARCHER = ("setpriv", f"--reuid={RESEARCHER}", f"--regid={RESEARCHER}", "--clear-groups", "env", "-i")


@dataclass(frozen=True)
class Apptainer:
    """Apptainer on a machine of its own, and a folder that belongs to its user."""

    machine: Machine
    folder: Path

    def command(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return the words that run apptainer there as its user, with nothing of our environment."""
        settings = {"HOME": HOME, "PATH": "/usr/bin:/bin", **(environment or {})}
        assignments = [f"{name}={value}" for name, value in settings.items()]
        return [*self.machine.prefix, *_RESEARCHER, *assignments, "/usr/bin/apptainer", "--quiet", *map(str, arguments)]

    def sif(self, name: str, source: str, *options: str, timeout: float = 120) -> Path:
        """Make a SIF file of an image, such as ``oci:DIR``."""
        path = self.folder / f"{name}.sif"
        done = subprocess.run(
            self.command("build", *options, path, source), capture_output=True, text=True, check=False, timeout=timeout
        )
        assert done.returncode == 0, done.stderr
        return path

    def make(self, name: str) -> Path:
        """Make a folder that belongs to the user."""
        path = self.folder / name
        path.mkdir()
        os.chown(path, RESEARCHER, RESEARCHER)
        return path

    def files(self, folder: str) -> list[str]:
        """List what is in a folder of the machine."""
        listed = subprocess.run(
            [*self.machine.prefix, "ls", "-A", folder], stdout=subprocess.PIPE, text=True, check=True
        )
        return listed.stdout.splitlines()


def write_program(machine: Machine, folder: Path) -> None:
    """Write a program, ``apptainer``, that runs that of the machine for datapack, as an ordinary user with a home."""
    os.chown(f"/proc/{machine.leader}/root{HOME}", 0, 0)
    program = folder / "apptainer"
    program.write_text(_PROGRAM.format(machine=" ".join(machine.prefix), user=RESEARCHER, home=HOME))
    program.chmod(0o755)
