"""Checkpoints are complete or absent."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from tests.trainers.havens import PROJECT
from tests.workplace import mount
from trainers.errors import TrainingError
from trainers.pytorch import checkpoint
from trainers.pytorch.checkpoint import read_checkpoint, save_checkpoint
from trainers.run.folder import Run
from trainers.training.checkpoint import check_checkpoint, checkpoint_head

FACTS = {"dataset": "reef", "processes": 1}
HEAD = checkpoint_head(FACTS, {"epoch": 3, "best": None, "rows": [{"mAP": 0.5}]})
TENSOR = torch.arange(100_000.0)


@pytest.fixture
def run(tmp_path):
    return opened(tmp_path)


def opened(folder):
    run = Run(folder / "run")
    run.open()
    return run


def test_a_saved_checkpoint_loads(run):
    """Tensors and plain values come back as they were."""
    save_checkpoint(run, HEAD, {"model": {"a": TENSOR}})
    path = run.path("checkpoint.pt")
    content = check_checkpoint(read_checkpoint(path), path, FACTS)
    assert content["state"]["model"]["a"].equal(TENSOR)
    assert content["progress"] == {"epoch": 3, "best": None, "rows": [{"mAP": 0.5}]}


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_a_clear_error(run, share):
    """The error is one line that says what to do."""
    save_checkpoint(run, HEAD, {"model": {"a": TENSOR}})
    path = run.path("checkpoint.pt")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(TrainingError, match=r"checkpoint.pt: .*set resume to never"):
        read_checkpoint(path)


SAVER = """
import sys; from pathlib import Path; import torch
from trainers.pytorch.checkpoint import save_checkpoint; from trainers.run.folder import Run
number = 0
while number := number + 1:
    save_checkpoint(Run(Path(sys.argv[1])), {}, {"model": {"a": torch.full((1_000_000,), float(number))}})
    print(number, flush=True)
"""


def test_a_kill_during_a_save_leaves_the_earlier_checkpoint(run):
    """After a kill the earlier checkpoint is intact; the next start removes the partial file."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    for delay in range(30):
        command = [sys.executable, "-c", SAVER, str(run.folder)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as saver:
            first = saver.stdout.readline()
            time.sleep(0.003 * delay)
            saver.kill()
            saved = int((first + saver.stdout.read()).split()[-1])
        tensor = read_checkpoint(run.path("checkpoint.pt"))["state"]["model"]["a"]
        assert (tensor == tensor[0]).all()
        assert tensor[0].item() in {saved, saved + 1}
        halves = list(run.folder.glob(".datapack-*"))
        run.open()
        assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]
        if halves:
            return
    raise AssertionError("no kill came in the middle of one")


def test_without_room_the_earlier_checkpoint_stays(run, monkeypatch):
    """Free space is checked before the first byte; the earlier checkpoint is intact, and nothing else is left."""
    save_checkpoint(run, HEAD, {"number": 1})
    monkeypatch.setattr("datapack.files.shutil.disk_usage", lambda _: SimpleNamespace(free=205_000))
    with pytest.raises(
        TrainingError, match=r"not enough space on the disk: expected 1\.45 MB, found 205 kB free; make room"
    ):
        save_checkpoint(run, HEAD, {"model": {"a": TENSOR}})
    monkeypatch.undo()
    assert read_checkpoint(run.path("checkpoint.pt"))["state"] == {"number": 1}
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    """If the disk fills up during a save, the error is one line and the earlier checkpoint is intact."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount(disk, "size=4m"):
        pytest.skip("this user may not mount a disk in memory")
    try:
        run = opened(disk)
        save_checkpoint(run, HEAD, {"model": {"a": TENSOR}})
        monkeypatch.setattr(checkpoint, "check_space", lambda *_: None)
        with pytest.raises(TrainingError, match=r"run: the disk is full: found .* free; make room"):
            save_checkpoint(run, HEAD, {"model": {"a": TENSOR.repeat(10)}})
        assert read_checkpoint(run.path("checkpoint.pt"))["state"]["model"]["a"].equal(TENSOR)
        assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]
    finally:
        subprocess.run(["umount", disk], check=True)
