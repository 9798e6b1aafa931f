"""Cores and memory of a process, and its place in a training."""

import os
import platform
import subprocess
import sys

import pytest

from trainers import process
from trainers.errors import TrainingError
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
    outcome = process._outcome(tmp_path)
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
    process._outcome(tmp_path).symlink_to("mine")
    with process.tell_others(tmp_path, place):
        pass
    process.wait_for_first(tmp_path)
    assert (tmp_path / "mine").read_bytes() == b"mine"
