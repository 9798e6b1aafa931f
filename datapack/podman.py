"""Podman's API service, for the time that datapack needs an engine: Podman has no daemon that always runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_TIMEOUT = 30.0  # seconds
_STOP_TIMEOUT = 10.0  # seconds
_IDLE = 24 * 60 * 60  # seconds without a request after which the service ends, should nobody else end it
_LONGEST = 70  # bytes of a folder: with the two names below it, a socket's path may have 107 (man 7 unix)
_PR_SET_PDEATHSIG = 1  # prctl of linux/prctl.h


def find_podman() -> str | None:
    """Return the path of Podman's program, or None if it is not installed."""
    return shutil.which("podman")


@contextlib.contextmanager
def serve_podman(program: str) -> Iterator[str]:
    """Start Podman's API service; yield its URL. It ends with this block, and with this process, even a killed one.

    Its socket is in a new folder that other users can't enter: whoever may write to it may do what this user may do.

    Raises:
        ImageError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="datapack-podman-", dir=_folder(), ignore_cleanup_errors=True) as folder:
        socket, log = Path(folder, "podman.sock"), Path(folder, "log")
        url = f"unix://{socket}"
        with _started([program, "system", "service", "--time", str(_IDLE), url], log) as service:
            _wait(service, socket, log)
            yield url


def _folder() -> str | None:
    """Return where the socket's folder is made: /tmp if the usual place has too long a path for a socket."""
    return None if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST else "/tmp"  # noqa: S108 - only this user can enter it


@contextlib.contextmanager
def _started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a service in a session of its own: Ctrl-C must not end it before datapack has removed its container."""
    with log.open("wb") as file:
        service = subprocess.Popen(
            command,
            cwd=log.parent,  # Podman's monitor leaves a file here if a container used too much memory
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - it only makes a system call
        )
    try:
        yield service
    finally:
        service.terminate()
        try:
            service.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _wait(service: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not socket.exists():
        if service.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise ImageError(
                "podman's API service does not start",
                where="podman system service",
                found=lines[-1] if lines else "no message",
                fix="see whether 'podman info' works, or start an engine and name its socket in DOCKER_HOST",
            )
        time.sleep(0.05)


def _end_with_parent() -> None:
    """Let the kernel end this process when its parent is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
