"""The import program killed, out of memory, stopped, and running twice at once."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.bags import contents
from tests.containers.importer import MANY, PROGRAM, STRANGER, Importer, await_files, identity


@pytest.fixture
def impatient(tmp_path: Path) -> str:
    """The option that mounts an import program that waits 2 s instead of 15 s for another import's lock to grow."""
    text = PROGRAM.read_text()
    assert text.count("PATIENCE=15 ") == 1
    program = tmp_path / "import"
    program.write_text(text.replace("PATIENCE=15 ", "PATIENCE=2 "))
    program.chmod(0o755)
    return f"-v={program}:/usr/local/bin/import:ro"


def test_a_kill_and_the_same_command_again(importer: Importer, many: Path, impatient: str) -> None:
    """After a kill nothing has the final name; the next run does not copy complete files again."""
    importer = importer.carrying(many, MANY)
    importer.signalled("KILL", after=40)
    assert not importer.final.exists()
    arrived = {
        path.name: identity(path)
        for path in (importer.partial / "data").iterdir()
        if path.read_bytes() == MANY[path.name]
    }
    assert 0 < len(arrived) < len(MANY)
    result = importer(options=(impatient,))
    assert result.last == importer.ok, result.log
    assert "waiting 2 s" in result.log  # the lock of the killed import
    assert {name: identity(importer.final / "data" / name) for name in arrived} == arrived


def test_a_kill_of_the_work_alone(importer: Importer, many: Path) -> None:
    """If the kernel kills the worker process, as when memory runs out, the last line still says that it failed."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=starved",)) as process:
        await_files(importer.partial, 10)
        find = "grep -l -e '[-]-session' /proc/[0-9]*/cmdline | cut -d / -f 3"
        # The container may be gone before `exec` can report its command's status: the log counts.
        importer.engine.run("exec", "starved", "sh", "-c", f"kill -KILL $({find})", check=False)
        log, _ = process.communicate(timeout=60)
    assert log.splitlines()[-1].startswith("IMPORT FAILED: stopped (status 137)")
    assert process.returncode == 137
    assert not importer.final.exists()


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_stop(anywhere: Importer, many: Path, signal: str) -> None:
    """A stopped import says so in its last line and in a receipt, and leaves no lock behind."""
    importer = anywhere.carrying(many, MANY)
    result = importer.signalled(signal)
    assert result.last.startswith("IMPORT FAILED: stopped")
    assert result.status == 143
    assert importer.receipt.read_text().endswith("IMPORT FAILED: stopped by a signal\n")
    assert not importer.final.exists()
    result = importer()
    assert result.last == importer.ok
    assert "waiting" not in result.log


def test_two_imports_at_once(importer: Importer, many: Path) -> None:
    """The second of two imports to one destination ends with 7; the first one succeeds."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=first", "--cpus=0.1")) as first:
        await_files(importer.partial, 1)
        result = importer()
        importer.engine.run("update", "--cpus=2", "first")
        log, _ = first.communicate(timeout=120)
    assert result.status == 7
    assert result.last.startswith("IMPORT FAILED: another import is writing")
    assert log.splitlines()[-1] == importer.ok
    assert contents(importer.final) == contents(importer.bag or Path())


def test_a_second_import_by_another_user(importer: Importer, many: Path) -> None:
    """A second import by another user ends with 7 too, and does not harm the first."""
    importer = importer.carrying(many, MANY)
    importer.outputs.chmod(0o777)
    with importer.running("--jobs", "1", options=("--name=first", "--cpus=0.1")) as first:
        await_files(importer.partial, 1)
        result = importer(options=(f"--user={STRANGER}:{STRANGER}",))
        importer.engine.run("update", "--cpus=2", "first")
        log, _ = first.communicate(timeout=120)
    assert result.status == 7, result.log
    assert log.splitlines()[-1] == importer.ok


def test_killed_over_and_over(importer: Importer, tmp_path: Path) -> None:
    """An import killed 20 times at any moment never publishes half a dataset, and in the end completes it.

    The locks of killed imports are removed by hand: another test covers the wait for them.
    """
    importer = importer.carrying(tmp_path / "bag", {f"{n:02}": os.urandom(1 << 20) for n in range(60)})
    whole = contents(tmp_path / "bag")
    lock, moments, kills = importer.outputs / "reef" / ".v1.lock", random.Random(20), 0
    for number in range(60):
        name = f"--name=soaked-{number}"
        with importer.running("--jobs", moments.choice("12"), options=(name, "--cpus=0.3")) as process:
            while not lock.exists() and process.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.5))
            importer.engine.run("kill", "--signal=KILL", name.partition("=")[2], check=False)
            process.communicate(timeout=60)
        kills += process.returncode == 137
        lock.unlink(missing_ok=True)
        if importer.final.exists():
            assert contents(importer.final) == whole
            importer.final.rename(tmp_path / f"done-{number}")
        if kills == 20:
            break
    assert kills == 20
    assert importer().last == importer.ok
    assert contents(importer.final) == whole


@pytest.mark.parametrize("jobs", ["1", "64"])
def test_little_memory(anywhere: Importer, many: Path, jobs: str) -> None:
    """64 MB are enough, including the page cache of copied files, for one job and for many at once."""
    importer = anywhere.carrying(many, MANY)
    assert importer("--jobs", jobs, options=("--memory=64m",)).last == importer.ok


@pytest.mark.parametrize("processes", range(1, 14))
def test_a_limit_on_processes(importer: Importer, tmp_path: Path, processes: int) -> None:
    """If the machine allows no further process, at whatever moment, the last line says that the import failed."""
    importer.outputs.chmod(0o777)
    user = f"{STRANGER}{processes}"
    script = f"ulimit -u {processes} && exec /usr/local/bin/import"
    result = importer("-c", script, options=(f"--user={user}:{user}", "--cap-drop=all", "--entrypoint=/bin/sh"))
    assert (result.status == 0) == (result.last == importer.ok), result.log
    # Before it on the line may be what another process could not write to its end: that it can't fork either.
    assert result.status == 0 or "IMPORT FAILED: " in result.last, result.log
