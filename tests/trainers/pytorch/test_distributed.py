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
import torch.distributed as dist

from tests.trainers.havens import Haven
from tests.trainers.squares import square_files
from trainers.errors import StoppedError, TrainingError
from trainers.process import Place
from trainers.pytorch import distributed
from trainers.pytorch.distributed import TorchGroup, choose_device, join_group

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
    """Wait for the end; return the job's last line, and its whole output for messages."""
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
    """Both end with the same weights, which find the squares; only the first one writes and logs."""
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


def test_a_killed_process_ends_the_job_and_the_next_resumes(haven):
    """After a kill of one of two, the last line is clear, the checkpoint is whole, and the next job resumes."""
    haven.configure(training={**TRAINING, "epochs": 500})
    process = start(haven)
    wait_for_epoch(haven, 2)
    os.kill(process_of(1, process.pid), signal.SIGKILL)
    last, said = finish(process)
    assert process.returncode != 0
    assert last == (
        "TRAINING FAILED: another process of this training is gone: it was killed or ran out of memory; "
        "start the same job again: with resume: auto it resumes from its last checkpoint"
    ), said
    process = start(haven)
    done = len((haven.outputs / "run" / "metrics.jsonl").read_text().splitlines())
    wait_for_epoch(haven, done + 1)
    process.terminate()
    last, said = finish(process)
    assert "resuming from" in said
    assert "TRAINING FAILED: stopped in epoch" in last, said
    assert "the same job resumes from there" in last
    checkpoint = torch.load(haven.outputs / "run" / "checkpoint.pt", weights_only=True)["progress"]
    assert checkpoint["epoch"] >= done - 1


def test_the_first_process_reports_why_another_failed(haven):
    """The error of one process is the job's last line, though that process does not log."""
    haven.configure(training={**TRAINING, "epochs": 2})
    process = start(haven, TINY_FAILS="1")
    last, said = finish(process)
    assert process.returncode != 0
    assert last.startswith("TRAINING FAILED: process 1: out of memory"), said
    assert "set training.batch_size to 2" in last


def test_a_stop_that_follows_from_a_failure_is_reported_as_that():
    """`torchrun` stops the other processes, and its SIGTERM may arrive before they notice that one of them is gone."""
    store, stop = dist.HashStore(), StoppedError("stopped by SIGTERM")
    assert distributed._reason(stop, store, Place(0, 2, 0, 2)) is stop
    distributed._reason(TrainingError("out of memory"), store, Place(1, 2, 1, 2))
    found = distributed._reason(stop, store, Place(0, 2, 0, 2))
    assert type(found) is TrainingError
    assert str(found) == "process 1: out of memory"


def test_a_missing_gpu_is_an_error(monkeypatch):
    """`device: cuda` without a GPU, or with fewer GPUs than processes, is an error that says what to do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        TrainingError, match=r"there is no GPU: .*found 0 GPUs; start it with ces-gpu-run, .* device to cpu"
    ):
        choose_device("cuda", Place())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="there is no GPU for this process: expected GPU 2, found 2 GPUs"):
        choose_device("cuda", Place(rank=2, world=3, local_rank=2))


def test_a_gpu_that_cannot_be_used_is_an_error(monkeypatch):
    """A GPU that another job has to itself, or without any memory left, is one line and not a bug."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def busy(_number):
        raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be")

    monkeypatch.setattr(torch.cuda, "set_device", busy)
    with pytest.raises(TrainingError, match=r"can't use GPU 0: found .* busy or unavailable; end what else") as caught:
        choose_device("cuda", Place())
    assert "\n" not in str(caught.value)


def test_a_single_process_is_its_own_group():
    """Without torchrun, a process communicates with no other."""
    with join_group(Place(), "cpu") as group:
        assert group == TorchGroup(Place(), torch.device("cpu"))
        assert group.any(True, False) == (True, False)
        assert group.gather({"a": 1}) == [{"a": 1}]
        model = torch.nn.Linear(1, 1)
        assert group.wrap(model) is model


def test_unreachable_processes_are_a_clear_error(monkeypatch):
    """A missing or meaningless address from torchrun is an error of one line."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(TrainingError, match="can't reach the other processes: expected 2 processes"),
        join_group(Place(rank=0, world=2), "cpu"),
    ):
        raise AssertionError("it was reached")


def test_only_network_errors_mean_a_lost_process():
    """An error of the process itself is passed on, not taken for the loss of another."""

    class Store(dict):
        def set(self, key, value):
            self[key] = value.encode()

        def check(self, keys):
            return all(key in self for key in keys)

    store, own = Store(), ValueError("mine")
    assert distributed._reason(own, store, Place(rank=3, world=4)) is own
    told = distributed._reason(RuntimeError("[gloo] Connection closed by peer"), store, Place(world=4))
    assert str(told) == "process 3: ValueError: mine"
