"""Trainings of two processes, as torchrun starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from havens import Haven
from tiny import square_files

from trainers.errors import TrainingError
from trainers.process import Place
from trainers.pytorch import distributed
from trainers.pytorch.distributed import Group, choose_device, joined

PROGRAM = Path(__file__).parents[1] / "tiny_program.py"
TRAINING = {"batch_size": 4, "optimizer": "adamw", "learning_rate": 0.015}
PLAIN = {"scale": [1, 1], "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


@pytest.fixture
def haven(tmp_path):
    """A dataset of squares."""
    return Haven(
        tmp_path,
        square_files(100),
        {"image": {"min_size": 64, "max_size": 64}, "augmentation": PLAIN, "workers": 1},
    )


def start(haven: Haven, **environment: str) -> subprocess.Popen[str]:
    """Start a training of two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(PROGRAM)]
    return subprocess.Popen(
        [*launcher, *haven.command("train")[3:]],
        env=haven.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the end; return the job's last line, and all that was said for a message."""
    out, err = process.communicate(timeout=240)
    return out.splitlines()[-1] if out else "", f"{out}\n{err}"


def wait_for_epoch(haven: Haven, number: int) -> None:
    metrics, until = haven.outputs / "run" / "metrics.jsonl", time.monotonic() + 200
    while not (metrics.exists() and metrics.read_text().count("\n") >= number):
        assert time.monotonic() < until
        time.sleep(0.02)


def process_of(rank: int, launcher: int) -> int:
    """Return the id of a process by its rank."""
    for task in Path(f"/proc/{launcher}/task").iterdir():
        for child in (task / "children").read_text().split():
            if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
                return int(child)
    raise AssertionError("no such process")


def test_two_processes_train_one_detector(haven, tmp_path):
    """Two processes end with the same weights, which find the squares; only the first one writes and talks."""
    haven.configure(training={**TRAINING, "epochs": 10})
    process = start(haven, TINY_WEIGHTS=str(tmp_path))
    last, said = finish(process)
    assert process.returncode == 0, said
    assert last.startswith("TRAINING OK run mAP=0."), said
    assert said.count("TRAINING OK") == 1
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert [name for name in first if not first[name].equal(second[name])] == []
    rows = [json.loads(line) for line in (haven.outputs / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 11))
    assert max(row["evaluation"]["mAP50"] for row in rows) > 0.4, said


def test_a_killed_process_ends_the_job_and_the_next_goes_on(haven):
    """One of two is killed: the job ends with a clear last line, its checkpoint is whole, and it goes on from there."""
    haven.configure(training={**TRAINING, "epochs": 500})
    process = start(haven)
    wait_for_epoch(haven, 2)
    os.kill(process_of(1, process.pid), signal.SIGKILL)
    last, said = finish(process)
    assert process.returncode != 0
    assert last == (
        "TRAINING FAILED: another process of this training is gone: killed, or out of memory; "
        "start the same job again: with resume: auto it goes on from its last checkpoint"
    ), said
    process = start(haven)
    done = len((haven.outputs / "run" / "metrics.jsonl").read_text().splitlines())
    wait_for_epoch(haven, done + 1)
    process.terminate()
    last, said = finish(process)
    assert "going on from" in said
    assert "TRAINING FAILED: stopped in epoch" in last, said
    assert "the same job goes on from there" in last
    checkpoint = torch.load(haven.outputs / "run" / "checkpoint.pt", weights_only=True)["training"]
    assert checkpoint["epoch"] >= done - 1


def test_the_first_process_says_why_another_failed(haven):
    """What goes wrong in one process is the job's last line, though that process does not talk."""
    haven.configure(training={**TRAINING, "epochs": 2})
    process = start(haven, TINY_FAILS="1")
    last, said = finish(process)
    assert process.returncode != 0
    assert last.startswith("TRAINING FAILED: process 1: out of memory"), said
    assert "set training.batch_size to 2" in last


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    """`device: cuda` without a GPU, or with more processes than GPUs, is one line that says what to do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        TrainingError, match=r"there is no GPU: .*found 0 GPUs; start it with ces-gpu-run, .* device to cpu"
    ):
        choose_device("cuda", Place())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="there is no GPU for this process: expected GPU 2, found 2 GPUs"):
        choose_device("cuda", Place(rank=2, world=3, local_rank=2))


def test_alone_a_process_asks_nobody():
    """Without torchrun a process is its own group."""
    with joined(Place(), "cpu") as group:
        assert group == Group(Place(), torch.device("cpu"))
        assert group.any(True, False) == (True, False)
        assert group.gather({"a": 1}) == [{"a": 1}]
        model = torch.nn.Linear(1, 1)
        assert group.wrap(model) is model


def test_others_that_can_not_be_reached_are_one_line(monkeypatch):
    """Where torchrun's address is not there, or nonsense, it is said once."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(TrainingError, match="can't reach the other processes: expected 2 of them"),
        joined(Place(rank=0, world=2), "cpu"),
    ):
        raise AssertionError("it was reached")


def test_only_the_network_is_a_lost_process():
    """An error of one's own is passed on, not taken for the loss of another."""

    class Store(dict):
        def set(self, key, value):
            self[key] = value.encode()

        def check(self, keys):
            return all(key in self for key in keys)

    store, own = Store(), ValueError("mine")
    assert distributed._reason(own, store, Place(rank=3, world=4)) is own
    told = distributed._reason(RuntimeError("[gloo] Connection closed by peer"), store, Place(world=4))
    assert str(told) == "process 3: ValueError: mine"
