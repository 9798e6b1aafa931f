"""``--launch apptainer``: an image run by apptainer, without an engine, as the Safe Haven runs it for its researchers.

The image is a read-only SIF. The program runs as the user who rehearses, in the user's environment, with the user's
home. It gets no network.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.errors import ImageError
from datapack.files import home_folder
from datapack.rehearse.folders import is_abandoned, remove_abandoned
from datapack.rehearse.log import Ended, Tail
from datapack.rehearse.subject import Subject, find_stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.progress import Reporter
    from datapack.rehearse.folders import Folders
    from datapack.rehearse.log import Log
    from datapack.rehearse.options import Request
    from datapack.rehearse.runtime import Mounts
    from datapack.workspace.folder import Workspace

_GPU = Path("/dev/nvidiactl")
_GRACE = 10  # seconds between the request to stop and the kill
_SIGNALLED = 128  # plus the signal: the status of a program that a signal ended
_BLOCK = 1 << 16
_UNCOMPRESSED = "-noI -noD -noF -noX"  # most datasets are compressed already; once more would take minutes
_RUNNING = b"runtime parent: "  # before a SIF's name, in the name of the process that runs it


@contextlib.contextmanager
def open_apptainer(
    what: str, folder: Path, workspace: Workspace | None, request: Request, log: Log, reporter: Reporter
) -> Iterator[Apptainer]:
    """Find apptainer and the image, which is built if it is a version without one.

    Raises:
        ImageError: there is no apptainer here, or no such image.
    """
    program = shutil.which("apptainer")
    if program is None:
        raise ImageError(
            "apptainer is not installed",
            where="--launch apptainer",
            fix="install it, or rehearse in an engine with --launch ces",
        )
    version = _run_quietly([program, "--version"], "apptainer can't be started", program)
    subject = find_stored(what, folder, workspace, request.options.base, reporter)
    yield Apptainer(program, version.replace(" version", ""), subject, request, log, reporter)


@dataclass(frozen=True)
class Apptainer:
    """An image on this disk, and how apptainer is to run it."""

    program: str
    name: str
    subject: Subject
    request: Request
    log: Log
    reporter: Reporter

    memory = ""  # without systemd, apptainer limits nothing for an ordinary user

    @property
    def conditions(self) -> list[str]:
        return ["no network, no memory limit", "a read-only image", "your user, home and environment"]

    def mounted(self) -> dict[str, Path]:
        return {}

    def run(self, mounts: Mounts, folders: Folders) -> Ended:
        _remove_leftovers(folders.root.parent)
        if self.request.options.gpu and not _GPU.exists():  # apptainer would run it without one
            raise ImageError("this machine has no NVIDIA GPU", where="--gpu", fix="rehearse without --gpu")
        if os.getuid() == 0:
            self.reporter.note("this runs as root; in the Safe Haven it will run as the researcher")
        folders.aside.mkdir()
        image = self._make_image(folders.aside)
        return self._follow([*self._command(mounts), str(image), *self.request.command])

    def _make_image(self, folder: Path) -> Path:
        """Make a SIF; its layers are unpacked beside it, not in /tmp, which may be small."""
        self.reporter.note(f"making a SIF of {self.subject.name}")
        image = folder / f"{folder.parent.name}.sif"  # this name is the rehearsal's own: `_remove_leftovers`
        command = [self.program, "--quiet", "build", "--disable-cache", str(image), self.subject.id]
        settings = {"APPTAINER_TMPDIR": str(folder), "APPTAINER_MKSQUASHFS_ARGS": _UNCOMPRESSED}
        _run_quietly(command, "apptainer can't make a SIF of this image", self.subject.name, settings)
        return image

    def _command(self, mounts: Mounts) -> list[str]:
        options = ["--pid", "--net", "--network", "none", *(["--nv"] if self.request.options.gpu else [])]
        for inside, (folder, read_only) in mounts.items():
            options += ["--mount", _mount(folder, inside, read_only)]
        return [self.program, "--quiet", "run", *options]

    def _follow(self, command: list[str]) -> Ended:
        """Run a program and write its output to the log until it ends; stop it if this is interrupted."""
        variables = (variable.partition("=") for variable in self.request.environment)
        environment = {**os.environ, **{f"APPTAINERENV_{name}": value for name, _, value in variables}}
        tails = Tail(self.log.out), Tail(self.log.err)
        with _started(command, environment, self.subject.name) as process:
            try:
                _pass_on(process, tails)
                status = process.wait()
            except BaseException:
                self.reporter.note(f"stopping the container: it has {_GRACE} s to shut down")
                process.terminate()
                with contextlib.suppress(BaseException):  # its last lines; whatever goes wrong, it is killed
                    _pass_on(process, tails, _GRACE)
                process.kill()
                raise
        return Ended(status if status >= 0 else _SIGNALLED - status, False, tuple(tail.last_line for tail in tails))


def _mount(folder: Path, inside: str, read_only: bool) -> str:
    """Return the value of ``--mount``, a line of CSV: a path may contain a comma or a quotation mark."""
    line = io.StringIO()
    parts = ["type=bind", f"source={folder}", f"destination={inside}", *(["ro"] if read_only else [])]
    csv.writer(line, lineterminator="").writerow(parts)
    return line.getvalue()


def _started(command: list[str], environment: dict[str, str], where: str) -> subprocess.Popen[bytes]:
    """Start a program in the user's home, in a session of its own: Ctrl-C reaches it through us."""
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.Popen(
            command,
            cwd=home_folder(),
            env=environment,
            stdin=nothing,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
    except OSError as error:
        raise ImageError("apptainer can't be started", where=where, found=error) from error


def _pass_on(process: subprocess.Popen[bytes], tails: tuple[Tail, Tail], seconds: float = math.inf) -> None:
    """Pass both streams of a process on until it closes them, or for some seconds."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for stream, tail in zip((process.stdout, process.stderr), tails, strict=True):
            assert stream is not None  # noqa: S101 - it is a pipe
            selector.register(stream, selectors.EVENT_READ, tail)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(None if left == math.inf else left):
                part = os.read(key.fd, _BLOCK)
                if part:
                    key.data.write(part)
                else:
                    selector.unregister(key.fileobj)


def _run_quietly(command: list[str], what: str, where: str, settings: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints; raise `ImageError` with its last line if it fails."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(settings or {})},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ImageError(what, where=where, found=error) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ImageError(what, where=where, found=lines[-1] if lines else f"status {done.returncode}")
    return done.stdout.strip()


def _remove_leftovers(parent: Path) -> None:
    """Stop what rehearsals run whose datapack was killed, and delete their SIFs and scratch folders."""
    for image in parent.glob("*/aside/*.sif"):
        root = image.parents[1]
        if is_abandoned(root):
            for name in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):  # it has ended
                    if _RUNNING + image.name.encode() in name.read_bytes():
                        os.kill(int(name.parent.name), signal.SIGTERM)
            remove_abandoned(root)
