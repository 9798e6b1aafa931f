"""The import program killed, starved, stopped, and two at once."""

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
    """Give the option that mounts the import program with a shorter wait: 2 s, not 15, for another's sign of life."""
    text = PROGRAM.read_text()
    assert text.count("PATIENCE=15 ") == 1
    program = tmp_path / "import"
    program.write_text(text.replace("PATIENCE=15 ", "PATIENCE=2 "))
    program.chmod(0o755)
    return f"-v={program}:/usr/local/bin/import:ro"


def test_a_kill_and_the_same_command_again(importer: Importer, many: Path, impatient: str) -> None:
    """After a kill nothing has the final name; the next run does not copy again what had arrived whole."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=killed",)):
        await_files(importer.partial, 40)
        importer.engine.run("kill", "--signal=KILL", "killed")
    assert not importer.final.exists()
    arrived = {
        path.name: identity(path)
        for path in (importer.partial / "data").iterdir()
        if path.read_bytes() == MANY[path.name]
    }
    assert 0 < len(arrived) < len(MANY)
    result = importer(options=(impatient,))
    assert result.last == importer.ok, result.log
    assert "waiting 2 s" in result.log  # the lock of the one that was killed
    assert {name: identity(importer.final / "data" / name) for name in arrived} == arrived


def test_a_kill_of_the_work_alone(importer: Importer, many: Path) -> None:
    """Where the kernel kills the work, as it does for want of memory, the last line still says that it failed."""
    importer = importer.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=starved",)) as process:
        await_files(importer.partial, 10)
        find = "grep -l -e '[-]-session' /proc/[0-9]*/cmdline | cut -d / -f 3"
        # The container may be gone before `exec` can say how its command ended: what counts is what the log says.
        importer.engine.run("exec", "starved", "sh", "-c", f"kill -KILL $({find})", check=False)
        log, _ = process.communicate(timeout=60)
    assert log.splitlines()[-1].startswith("IMPORT FAILED: stopped (status 137)")
    assert process.returncode == 137
    assert not importer.final.exists()


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_stop(anywhere: Importer, many: Path, signal: str) -> None:
    """A stopped import says so in its last line and in a receipt, and leaves no lock behind."""
    importer = anywhere.carrying(many, MANY)
    with importer.running("--jobs", "1", options=("--name=stopped",)) as process:
        await_files(importer.partial, 10)
        importer.engine.run("kill", f"--signal={signal}", "stopped")
        log, _ = process.communicate(timeout=60)
    assert log.splitlines()[-1].startswith("IMPORT FAILED: stopped")
    assert process.returncode == 143
    assert importer.receipt.read_text().endswith("IMPORT FAILED: stopped by a signal\n")
    assert not importer.final.exists()
    result = importer()
    assert result.last == importer.ok
    assert "waiting" not in result.log


def test_two_imports_at_once(importer: Importer, many: Path) -> None:
    """The second of two imports to one place ends with 7; the first goes on and ends well."""
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
    """Whoever starts the second import, it ends with 7 and does no harm to the first."""
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
    """Killed 20 times at any moment, an import never shows half a dataset, and it ends whole.

    The locks of the dead are taken away by hand: that an import waits for them is another test.
    """
    importer = importer.carrying(tmp_path / "bag", {f"{n:02}": os.urandom(1 << 20) for n in range(60)})
    whole = contents(tmp_path / "bag")
    lock, moments, kills = importer.outputs / "reef" / ".v1.lock", random.Random(20), 0
    for number in range(60):
        name = f"--name=soaked-{number}"
        with importer.running("--jobs", moments.choice("12"), options=(name,)) as process:
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
    """64 MB are enough, the pages of what is copied included, for one job and for many at once."""
    importer = anywhere.carrying(many, MANY)
    assert importer("--jobs", jobs, options=("--memory=64m",)).last == importer.ok
