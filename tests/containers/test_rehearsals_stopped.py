"""A rehearsal that is stopped, killed, or loses its container: what is left, and who finds it."""

from __future__ import annotations

import signal
import time

import pytest

from tests.containers.engines import STAND_IN
from tests.containers.rehearsing import LABEL, Stage


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_nothing(stage: Stage, how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM stop the container and remove it."""
    script = "trap 'echo bye >/safe_outputs/bye; exit 1' TERM; echo up; while :; do sleep 0.1; done"
    with stage.start(*stage.sh(script)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(how)
        assert process.wait(60) == 130
        assert process.stderr.read().endswith("stopped; the container was removed\n")
    assert (stage.kept() / "safe_outputs" / "bye").exists()
    stage.nothing_is_left()


def test_a_second_stop_waits_for_nothing(stage: Stage) -> None:
    """A container that ignores the first Ctrl-C is killed at the second."""
    with stage.start(*stage.sh("trap '' TERM; echo up; while :; do sleep 0.1; done")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        while not process.stderr.readline().startswith("stopping the container"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    stage.nothing_is_left()


def test_the_next_rehearsal_finds_what_a_kill_left(stage: Stage) -> None:
    """After kill -9 the container keeps running; the next rehearsal finds it by its label and removes it."""
    with stage.start(*stage.sh("echo 1 >/scratch/x; echo up; sleep 1000")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        with stage.start(*stage.sh("true")) as other:  # a container whose lock is held is left alone
            assert other.wait(60) == 0
        (container,) = stage.containers()
        process.kill()
        process.wait()
    assert stage.engine.run("inspect", "--format", "{{.State.Running}}", container).stdout.strip() == "true"
    assert "of a killed rehearsal" in stage.ok(*stage.sh("true")).stderr


def test_a_container_of_an_unknown_rehearsal_is_named(stage: Stage) -> None:
    """A container whose rehearsal folder is missing is left alone, and its name is printed."""
    options = ("--detach", "--name=stray", "--network=none", "--stop-timeout=1", f"--label={LABEL}={stage.root}/gone")
    stage.engine.run("run", *options, STAND_IN, "sleep", "1000")
    try:
        done = stage.run("run", *stage.sh("true"))
        assert done.returncode == 0
        assert f"container stray belongs to a rehearsal whose folder is gone, {stage.root}/gone" in done.stderr
        assert len(stage.containers()) == 1
    finally:
        stage.engine.run("rm", "--force", "stray")


def test_a_broken_pipe_stops_the_container(stage: Stage) -> None:
    """`datapack run | head` stops the container and removes it."""
    with stage.start(*stage.sh("while :; do echo line; sleep 0.01; done")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert "Traceback" not in process.stderr.read()
    stage.nothing_is_left()


def test_a_container_that_somebody_else_removes_is_one_clear_line(stage: Stage) -> None:
    """The line says that the container was killed or is gone; a removal that is no longer needed is not an error."""
    with stage.start(*stage.sh("echo up; sleep 1000")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "up\n"
        stage.engine.run("rm", "--force", *stage.containers())
        assert process.wait(60) not in {0, 130}
        errors = process.stderr.read()
        assert "Traceback" not in errors
        (line,) = (line for line in errors.splitlines() if line.startswith("error: "))
        assert "the engine can't tell how the container ended" in line or "it was killed: by hand, or" in line
    deadline = time.monotonic() + 10
    while stage.containers() and time.monotonic() < deadline:
        time.sleep(0.1)
    stage.nothing_is_left()
