"""What a process knows of the node that it is on."""

import os
import subprocess
import sys

import pytest

from trainers.node import cores

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
    ],
)
def test_the_limit_of_a_container_counts(tmp_path, files, limit):
    """Of the cores that a process may run on, a limit on its time leaves some; at least one, and a part is a whole."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == limit


@pytest.mark.parametrize(("variables", "threads"), [({}, HERE), ({"OMP_NUM_THREADS": "1"}, 1)])
def test_torch_has_as_many_threads_as_there_are_cores(variables, threads):
    """What the environment says before torch is imported is what torch does; whoever runs it may say otherwise."""
    code = """
from trainers.node import calm_threads
calm_threads()
import os, torch
print(torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"])
"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain | variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(threads), "PASSIVE"]
