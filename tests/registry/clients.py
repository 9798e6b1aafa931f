"""crane, oras and cosign: the clients that other people use, from Debian's sid, unpacked once into ``.cache``.

They run on any Debian. Nothing is installed, and the system's own package lists stay as they are.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.registries import unavailable

FOLDER = Path(__file__).parents[2] / ".cache/registry-clients"
NAMES = ("crane", "oras", "cosign")
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SOURCE = f"deb [signed-by={_KEYS}] http://deb.debian.org/debian sid main\n"
_TIMEOUT = 120  # seconds for one call of apt-get
_BIN = FOLDER / "usr/bin"


@dataclass(frozen=True)
class Clients:
    """Runs the clients with a home of their own."""

    home: Path

    def run(self, name: str, *arguments: object) -> str:
        """Run a client; return what it printed."""
        done = subprocess.run(
            [_BIN / name, *map(str, arguments)],
            env={**os.environ, "HOME": str(self.home), "COSIGN_PASSWORD": ""},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{name} {arguments}: {done.stderr}"
        return done.stdout


def clients(home: Path) -> Clients:
    """Return the clients; skip the test where they can't be fetched."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((_BIN / name).exists() for name in NAMES):
            _fetch()
    return Clients(home)


def _fetch() -> None:
    """Fetch the packages with a package list of our own, and unpack them."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and Path(_KEYS).exists()):
        unavailable(f"{', '.join(NAMES)} are fetched from Debian's sid, which needs apt-get, dpkg-deb and {_KEYS}")
    work = FOLDER / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "packages"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    (work / "sources.list").write_text(_SOURCE)
    places = {"Etc::sourcelist": "sources.list", "State::lists": "lists", "Cache": "cache"}
    options = [f"-oDir::{key}={work / place}" for key, place in places.items()]
    options += ["-oDir::Etc::sourceparts=-", "-oAcquire::Languages=none", "-oAPT::Update::Error-Mode=any", "-q"]
    _apt("update", *options, folder=work)
    _apt("download", *NAMES, *options, folder=work / "packages")
    for package in (work / "packages").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, FOLDER], check=True)
    shutil.rmtree(work)


def _apt(*arguments: str, folder: Path) -> None:
    try:
        done = subprocess.run(
            ["apt-get", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        unavailable(f"{', '.join(NAMES)} can't be fetched from Debian's sid: no answer within {_TIMEOUT} s")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [done.stderr]
        unavailable(f"{', '.join(NAMES)} can't be fetched from Debian's sid: {lines[0]}")
