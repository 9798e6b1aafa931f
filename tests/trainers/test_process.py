"""Cores and memory of a process, and its place in a training."""

import os
import platform
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.workplace import mount
from trainers import process
from trainers.errors import ConfigError, TrainingError
from trainers.process import Place, cores

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, HERE),
        ({"cpu.max": "max 100000\n"}, HERE),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "110000 100000\n"}, min(HERE, 2)),
        ({"cpu.max": "9900000 100000\n"}, HERE),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, HERE),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "\n"}, HERE),
        ({"cpu.max": "100000 0\n"}, HERE),
    ],
)
def test_the_limit_of_a_container_is_respected(tmp_path, files, limit):
    """The limit of a container reduces the cores; a fraction is rounded up, and there is at least one."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == limit


def test_the_place_comes_from_torchrun(monkeypatch):
    """It is read from the variables of `torchrun`; without them there is one process, the first."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert Place.of_environment() == Place(rank=0, world=1, local_rank=0, local_world=1)
    for name, value in zip(names, "6824", strict=True):
        monkeypatch.setenv(name, value)
    place = Place.of_environment()
    assert place == Place(rank=6, world=8, local_rank=2, local_world=4)
    assert not place.is_first
    assert not place.is_first_here


@pytest.mark.torch
@pytest.mark.parametrize(("variables", "threads"), [({}, cores()), ({"OMP_NUM_THREADS": "1"}, 1)])
def test_torch_uses_all_available_cores(variables, threads):
    """torch follows the environment, which `tune_process` sets; variables that are already set stay."""
    code = """
from trainers.process import tune_process
tune_process()
import os, torch
print(torch.get_num_threads(), os.environ["GOMP_SPINCOUNT"])
"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain | variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(threads), "1000"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
@pytest.mark.parametrize(("first", "least", "most"), [("pass", 40_000, 1e9), ("tune_process()", 0, 20_000)])
def test_freed_memory_is_reused(first, least, most):
    """Twelve times four images take the pages of four or eight, not of all: 2,048 of 4 kB each."""
    code = f"""
import resource
from trainers.process import tune_process
{first}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12):
    [bytearray(b"x") * (8 << 20) for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert least <= int(done.stdout) <= most


@pytest.mark.parametrize(
    ("content", "why"), [(b"false", "the first process of this node failed"), (b"tr", "not valid JSON")]
)
def test_the_others_stop_if_the_first_process_failed(tmp_path, content, why):
    """So they do if what it left is damaged; a FIFO in its place is not waited for."""
    outcome = process._outcomes(tmp_path)[0]
    outcome.write_bytes(content)
    with pytest.raises(TrainingError, match=why):
        process.wait_for_first(tmp_path)
    outcome.unlink()
    os.mkfifo(outcome)
    with pytest.raises(TrainingError, match="not a regular file: found a FIFO"):
        process.wait_for_first(tmp_path)


def test_the_first_process_tells_the_others_and_follows_no_link(tmp_path):
    """In a shared /scratch, a link with the name of the outcome is replaced, and its target stays."""
    place = Place(rank=0, world=2, local_rank=0, local_world=2)
    (tmp_path / "mine").write_bytes(b"mine")
    process._outcomes(tmp_path)[0].symlink_to("mine")
    with process.tell_others(tmp_path, place):
        pass
    process.wait_for_first(tmp_path)
    assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1"},
        {"WORLD_SIZE": "0"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"},
        {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "4"},
    ],
)
def test_an_impossible_place_is_an_error(monkeypatch, variables):
    """A process that would wait for ever, or train without a word, because only a part of the variables is set."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"there is no such process in a training: found RANK [0-9], WORLD_SIZE"):
        Place.of_environment()


PAIR = Place(rank=0, world=2, local_rank=0, local_world=2)


def test_a_full_scratch_does_not_keep_the_others_waiting(tmp_path):
    """If the outcome can't be written to /scratch, the others find it elsewhere."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    if not mount(scratch, "size=4k,nr_inodes=1"):
        pytest.skip("this user may not mount a disk")
    outcomes = process._outcomes(scratch)
    try:
        with process.tell_others(scratch, PAIR):
            pass
        assert not outcomes[0].exists()
        process.wait_for_first(scratch)
    finally:
        subprocess.run(["umount", scratch], check=True)
        for path in outcomes[1:]:
            path.unlink(missing_ok=True)


def test_where_the_others_cannot_be_told_the_job_fails(tmp_path, monkeypatch):
    """Without a folder that can be written to, nobody waits for ever; an error of the body stays the error."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(process, "_outcomes", lambda _: [tmp_path / "file" / "ready.json"])
    says = r"can't tell the other processes .*: expected room for a small file in one of "
    with pytest.raises(TrainingError, match=says), process.tell_others(tmp_path, PAIR):
        pass
    with pytest.raises(ZeroDivisionError), process.tell_others(tmp_path, PAIR):
        raise ZeroDivisionError


def test_an_outcome_of_another_user_is_not_believed(tmp_path, monkeypatch):
    """In /tmp anybody can write that the data was checked."""
    path = tmp_path / "ready.json"
    path.write_bytes(b"true")
    assert process._is_ours(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert not process._is_ours(path)


def test_one_process_on_each_node_tells_nobody(tmp_path):
    """Nobody waits there; a launcher in another container has no /proc entry here."""
    with process.tell_others(tmp_path, Place(rank=1, world=2, local_rank=0, local_world=1)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("caller", "nth"), [("acquire", 3), ("done", 10), ("wait", 3)])
def test_a_signal_does_not_leave_a_lock_of_the_executor_taken(caller, nth):
    """A job that reads its data in threads ends at a signal, even if the main thread has just taken a lock."""
    code = f"""
import time
from datapack.executor import run_all
from tests.locks import signal_after_lock
from trainers.process import watch_signals
def unit(item, advance):
    time.sleep(0.001)
    advance(1)
watch_signals()
with signal_after_lock({caller!r}, {nth}):
    for _ in run_all(unit, range(100), workers=2):
        pass
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr[-200:].count("StoppedError: stopped by SIGTERM")) == (1, 1), done
