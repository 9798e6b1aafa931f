"""Podman's API service, which datapack starts where no engine answers, and which ends with it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.containers.rehearsing import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.containers.engines import Engine

SAYS = "no engine answers at unix:///var/run/docker.sock: "
WAITING = "trap 'exit 1' TERM; echo up; while :; do sleep 0.1; done"


@dataclass
class WithoutService(Stage):
    """A stage whose podman is installed, while nothing serves its API."""

    @property
    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in super().environment.items() if key != "DOCKER_HOST"}
        return {**inherited, **self.engine.environment, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}

    @property
    def service(self) -> int:
        """The process of the last service."""
        return int((self.root / "service").read_text())

    def is_running(self) -> bool:
        return Path(f"/proc/{self.service}").exists()

    def ended_in_time(self) -> bool:
        """Wait a moment for the service to end."""
        deadline = time.monotonic() + 20
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.is_running()


@pytest.fixture
def stage(built: Path, podman: Engine, tmp_path: Path) -> Iterator[WithoutService]:
    if Path("/var/run/docker.sock").exists():
        pytest.skip("an engine answers at the usual socket of this machine")
    program = built / "bin" / "podman"
    program.parent.mkdir(exist_ok=True)
    command = shlex.join([str(shutil.which(podman.command[0])), *podman.command[1:]])
    program.write_text(f'#!/bin/sh\necho $$ >{built}/service\nexec {command} "$@"\n')
    program.chmod(0o755)
    (built / "service").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="dp-") as folder:  # short: a socket's path may have 107 bytes
        yield WithoutService(built, podman, {"TMPDIR": folder})
        assert not list(Path(folder).glob("datapack-podman-*")) or not (built / "service").exists()


def test_a_long_path_for_temporary_files_is_no_obstacle(stage: WithoutService, tmp_path: Path) -> None:
    """Where the path of TMPDIR is too long for a socket, the service's socket is elsewhere."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    stage.env["TMPDIR"] = str(long)
    assert SAYS in stage.ok("reef@v1").stderr
    assert stage.ended_in_time()


def test_a_rehearsal_starts_podman_and_stops_it(stage: WithoutService) -> None:
    """One line says that podman serves its API; after the rehearsal no service and no socket is left."""
    done = stage.ok("reef@v1")
    assert done.stderr.count(SAYS) == 1
    assert "IMPORT OK reef@v1" in done.stdout
    assert not stage.is_running()


def test_a_failed_rehearsal_stops_podman_too(stage: WithoutService) -> None:
    """The container's status is passed on, and the service ends."""
    stage.fails(7, *stage.sh("exit 7"))
    assert not stage.is_running()


def test_an_image_is_loaded_into_podman(stage: WithoutService) -> None:
    """`build --to docker-daemon:` does the same."""
    done = stage.run("build", "reef@v1", "--to", "docker-daemon:localhost/reef:service")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(SAYS) == 1
    assert not stage.is_running()
    stage.engine.run("image", "rm", "--force", "localhost/reef:service")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_removes_the_container_before_the_service_ends(stage: WithoutService, how: signal.Signals) -> None:
    """Ctrl-C, which goes to every process of the terminal, and SIGTERM leave neither a container nor a service."""
    with stage.start(*stage.sh(WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert os.getpgid(stage.service) != os.getpgid(process.pid)
        process.send_signal(how)
        assert process.wait(60) == 130
    assert not stage.is_running()
    stage.nothing_is_left()


def test_a_killed_rehearsal_ends_the_service(stage: WithoutService) -> None:
    """After kill -9 the service ends by itself, and the next rehearsal removes the container."""
    with stage.start(*stage.sh(WAITING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait()
    assert stage.ended_in_time()
    assert "of a killed rehearsal" in stage.ok(*stage.sh("true")).stderr
    for folder in Path(stage.env["TMPDIR"]).glob("datapack-podman-*"):  # a killed process removes nothing
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "log").unlink()
        (folder / "podman.sock").unlink(missing_ok=True)
        folder.rmdir()


def test_a_named_engine_is_the_only_one(stage: WithoutService) -> None:
    """Where DOCKER_HOST names a socket, podman is not started, whether an engine answers there or not."""
    stage.env["DOCKER_HOST"] = f"unix://{stage.root}/nobody.sock"
    environment = {**stage.environment, **stage.env}
    done = Named(stage.root, stage.engine, environment).run("run", "reef@v1")
    assert done.returncode == 1
    assert "nobody.sock: no container engine answers; start Docker, or 'podman" in done.stderr
    assert not (stage.root / "service").exists()


def test_a_podman_that_can_not_start_is_one_clear_line(stage: WithoutService) -> None:
    """Podman's own last line says why."""
    (stage.root / "bin" / "podman").write_text("#!/bin/sh\necho 'Error: no user namespaces' >&2\nexit 125\n")
    line = stage.fails(1, "reef@v1")
    assert "podman's API service does not start: found Error: no user namespaces; see whether 'podman info'" in line


class Named(Stage):
    """A stage with exactly this environment."""

    @property
    def environment(self) -> dict[str, str]:
        return self.env
