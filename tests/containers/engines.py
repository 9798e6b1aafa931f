"""Container engines for the tests: real ones, each with its own store, which is removed after the tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.containers.sid import Machine

PROJECT = Path(__file__).parents[2]
REQUIRED = "DATAPACK_REQUIRE_ENGINES"  # 1 makes a missing engine a failure, as in CI
STAND_IN = "localhost/stand-in:latest"
START_TIMEOUT = 60  # seconds
DRIVERS = {  # the second if the first does not work
    "podman": ("overlay", "vfs"),
    "docker": ("overlay2", "vfs"),
    "containerd": ("overlayfs", "native"),
}

# The limits are no higher than this process's own; runc works with both podman and docker; state and locks are
# separate, so that another podman on this machine does not interfere.
CONTAINERS_CONF = """[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime="runc"
tmp_dir="{folder}/state"
lock_type="file"
"""


@dataclass(frozen=True)
class Engine:
    """An engine: its command line and its Docker API."""

    name: str  # podman or docker
    command: tuple[str, ...]
    url: str  # unix://...
    environment: Mapping[str, str] = field(default_factory=dict)
    containerd: bool = False  # whether it has containerd's image store

    def run(self, *arguments: str | Path, check: bool = True, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run an engine's command to its end; both of its streams are in ``stdout``."""
        done = subprocess.run(
            [*self.command, *arguments],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name} {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}")
        return done

    def load(self, layout: Path, tag: str, scratch: Path) -> None:
        """Load the image of an OCI layout into the engine's store under a tag."""
        archive = scratch / "image.tar"
        archive.unlink(missing_ok=True)
        subprocess.run(["skopeo", "copy", "--quiet", f"oci:{layout}", f"docker-archive:{archive}:{tag}"], check=True)
        self.run("load", "--input", archive)
        archive.unlink()

    def build(
        self,
        dockerfile: Path,
        context: Path,
        tag: str,
        *,
        options: Sequence[str] = ("--network", "none"),
        timeout: float = 240,
        **arguments: str,
    ) -> None:
        """Build an image, without a network unless ``options`` say otherwise."""
        values = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        self.run("build", *options, "--file", dockerfile, "--tag", tag, *values, context, timeout=timeout)


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it if engines are required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {reason}")
    pytest.skip(reason)


def need(*programs: str) -> None:
    """Skip or fail if we are not root or one of these programs is missing."""
    if os.geteuid() != 0:
        unavailable("starting container engines needs root")
    for program in programs:
        if not shutil.which(program):
            unavailable(f"{program} is not installed")


@contextlib.contextmanager
def podman(folder: Path, base: Path, machine: Machine | None = None) -> Iterator[Engine]:
    """Start podman's API over a store in ``folder``, with the base loaded as `STAND_IN`."""
    need("setpriv", "skopeo", *(() if machine else ("podman", "runc")))
    prefix = machine.prefix if machine else ()
    settings = folder / "containers.conf"
    settings.write_text(CONTAINERS_CONF.format(folder=folder))
    own = {"CONTAINERS_CONF": str(settings), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
    for driver in DRIVERS["podman"]:
        store, log, socket = folder / driver, folder / f"{driver}.log", folder / f"{driver}.sock"
        url = f"unix://{socket}"
        command = [*prefix, "podman", "--root", f"{store}/root", "--runroot", f"{store}/run"]
        command += ["--cgroup-manager", "cgroupfs", "--storage-driver", driver]
        engine = Engine("podman", tuple(command), url, own)
        service = _start([*command, "system", "service", "--time", "0", url], engine, log)
        try:
            with _stopping(service):
                failure = _wait_for(socket, service, log) or _try(engine, base, folder)
                if not failure:
                    yield engine
                    return
        finally:
            _unmount(store)
    unavailable(f"podman cannot run a container here: {failure}")


@contextlib.contextmanager
def docker(folder: Path, base: Path, machine: Machine | None = None, containerd: bool = False) -> Iterator[Engine]:
    """Start our own Docker daemon in ``folder``, with the base loaded as `STAND_IN`, or with containerd's store."""
    need("docker", "setpriv", "skopeo", *(() if machine else ("dockerd",)))
    client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"  # the client of this daemon
    own = {"DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(folder)}
    settings = folder / "daemon.json"
    settings.write_text(json.dumps({"features": {"containerd-snapshotter": True}} if containerd else {}))
    for driver in DRIVERS["containerd" if containerd else "docker"]:
        store, log, socket = folder / driver, folder / f"{driver}.log", folder / f"{driver}.sock"
        url = f"unix://{socket}"
        engine = Engine("docker", (client, "--host", url), url, own, containerd)
        arguments = [*(machine.prefix if machine else ()), "dockerd", "--config-file", str(settings)]
        arguments += ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", driver]
        arguments += ["--data-root", f"{store}/data", "--exec-root", f"{store}/run", "--pidfile", f"{store}.pid"]
        daemon = _start([*arguments, "--host", url], engine, log)
        try:
            with _stopping(daemon):
                failure = _wait_for(socket, daemon, log) or _try(engine, base, folder)
                if not failure:
                    yield engine
                    return
        finally:
            _unmount(store)
    unavailable(f"docker cannot run a container here: {failure}")


def _try(engine: Engine, base: Path, folder: Path) -> str:
    """Load the base and run it; return why that failed, or nothing."""
    try:
        engine.load(base, STAND_IN, folder)
        engine.run("run", "--rm", "--network", "none", STAND_IN, "true")
    except AssertionError as error:
        return str(error)
    return ""


def _start(command: list[str], engine: Engine, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", "--", *command],  # it ends with the tests, also if they are killed
            cwd=log.parent,  # podman's monitor leaves a file here if a container used too much memory
            env={**os.environ, **engine.environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


@contextlib.contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(socket: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until a service listens; return why it does not, or nothing."""
    deadline = time.monotonic() + START_TIMEOUT
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            return f"{process.args!r} ended or is too slow:\n{log.read_text()[-2000:]}"
        time.sleep(0.05)
    return ""


def _unmount(store: Path) -> None:
    """Unmount what an engine left mounted below its store, the deepest first, then remove the store."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if Path(point).is_relative_to(store)), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)
    shutil.rmtree(store, ignore_errors=True)
