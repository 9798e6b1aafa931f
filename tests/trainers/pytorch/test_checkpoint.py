"""Checkpoints: whole or not there, and refused where they belong to another training."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from havens import PROJECT
from tiny import DIGEST, squares, tiny_config
from workplace import mount

from trainers.config import Config
from trainers.errors import ConfigError, TrainingError
from trainers.pytorch import checkpoint
from trainers.pytorch.checkpoint import TrainedModel, job_facts, load_checkpoint, save, save_model
from trainers.run.folder import Run

FACTS = job_facts(tiny_config(), DIGEST, "0123", 1)
TENSOR = torch.arange(100_000.0)


@pytest.fixture
def run(tmp_path):
    return opened(tmp_path)


def opened(folder):
    run = Run(folder / "run")
    run.open()
    return run


def test_what_is_saved_is_loaded(run):
    """Tensors and plain values come back as they were."""
    save(run, FACTS, {"model": {"a": TENSOR}, "epoch": 3, "best": None, "rows": [{"mAP": 0.5}]})
    content = load_checkpoint(run.path("checkpoint.pt"), FACTS)
    assert content["model"]["a"].equal(TENSOR)
    assert (content["epoch"], content["best"], content["rows"]) == (3, None, [{"mAP": 0.5}])


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 7},
        {"verify": "quick"},
        {"resume": "never"},
        {"run": "other"},
        {"report": {"samples": True}},
        {"evaluation": {"batch_size": 1}},
        {"data": {"eval": None}},
        {"image": {"min_size": 64, "max_size": 64, "cache": "off"}},
        {"training": {"epochs": 2, "batch_size": 2, "warmup_steps": 2, "max_hours": 3}},
    ],
    ids=str,
)
def test_what_changes_no_number_may_change(run, change):
    """Threads, checks, reports and the hours of a job may differ from start to start."""
    save(run, FACTS, {"epoch": 1})
    config = Config.model_validate({**tiny_config().model_dump(), **change})
    assert load_checkpoint(run.path("checkpoint.pt"), job_facts(config, DIGEST, "0123", 1)) == {"epoch": 1}


def test_another_training_is_refused_by_its_keys(run):
    """What differs is named as in train.yml, with what it is and what it was."""
    save(run, FACTS, {})
    facts = job_facts(tiny_config(epochs=3, learning_rate=0.5), DIGEST, "0123", 4)
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(run.path("checkpoint.pt"), facts)
    assert (
        "checkpoint.pt: a checkpoint of another training: found processes 4 was 1, training.epochs 3 was 2, "
        "training.learning_rate 0.5 was 0.02; set resume to never to start anew, or run to another name"
    ) in str(caught.value)


def test_another_dataset_or_split_is_refused(run):
    """A checkpoint that has seen other images is not gone on from."""
    save(run, FACTS, {})
    path, other = run.path("checkpoint.pt"), "sha256:" + "2" * 64
    with pytest.raises(TrainingError, match=rf"of another dataset: expected {other}, found {DIGEST}"):
        load_checkpoint(path, job_facts(tiny_config(), other, "0123", 1))
    with pytest.raises(TrainingError, match="split '4567' was '0123'"):
        load_checkpoint(path, job_facts(tiny_config(), DIGEST, "4567", 1))


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_checkpoint_cut_short_is_one_line(run, share):
    """A file that lost its end says so, and what to do."""
    save(run, FACTS, {"model": {"a": TENSOR}})
    path = run.path("checkpoint.pt")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(TrainingError, match=r"checkpoint.pt: .*set resume to never"):
        load_checkpoint(path, FACTS)


@pytest.mark.parametrize("content", [[1], {"model": {}}, {"form": 0, "job": {}, "training": {}}], ids=str)
def test_something_else_is_no_checkpoint(run, content):
    """A file of torch's that is no checkpoint of this version is one line."""
    torch.save(content, run.path("checkpoint.pt"))
    with pytest.raises(TrainingError, match="not a checkpoint that this version can go on from"):
        load_checkpoint(run.path("checkpoint.pt"), FACTS)


def test_a_model_pt_is_plain(run):
    """A model.pt has the parts that others read, and is no checkpoint."""
    save_model(run, {"backbone.body.conv1.weight": TENSOR}, tiny_config(), squares(1)[0], DIGEST)
    content = torch.load(run.path("model.pt"), weights_only=True)
    assert {key: value for key, value in content.items() if key != "model"} == {
        "name": "fasterrcnn_resnet50_fpn_v2",
        "categories": [[3, "red"], [8, "green"]],
        "min_size": 64,
        "max_size": 64,
        "dataset": DIGEST,
    }
    assert TrainedModel.read(run.path("model.pt")).weights.tensors["backbone.body.conv1.weight"].equal(TENSOR)
    with pytest.raises(TrainingError, match="not a checkpoint"):
        load_checkpoint(run.path("model.pt"), FACTS)


def test_a_checkpoint_is_no_model_pt(run):
    """What `evaluation.model` names must be a model.pt."""
    save(run, FACTS, {"model": {"a": TENSOR}})
    with pytest.raises(ConfigError, match=r"checkpoint.pt: not a model.pt"):
        TrainedModel.read(run.path("checkpoint.pt"))


SAVER = """
import sys; from pathlib import Path; import torch
from trainers.pytorch.checkpoint import save; from trainers.run.folder import Run
number = 0
while number := number + 1:
    save(Run(Path(sys.argv[1])), {}, {"model": {"a": torch.full((1_000_000,), float(number))}})
    print(number, flush=True)
"""


def test_a_kill_while_a_checkpoint_is_written_leaves_the_earlier_one(run):
    """Killed in the middle of a checkpoint, the one before is whole; what was half-written goes at the next start."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    for delay in range(30):
        command = [sys.executable, "-c", SAVER, str(run.folder)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as saver:
            first = saver.stdout.readline()
            time.sleep(0.003 * delay)
            saver.kill()
            saved = int((first + saver.stdout.read()).split()[-1])
        tensor = load_checkpoint(run.path("checkpoint.pt"), {})["model"]["a"]
        assert (tensor == tensor[0]).all()
        assert tensor[0].item() in {saved, saved + 1}
        halves = list(run.folder.glob(".partial-*"))
        run.open()
        assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]
        if halves:
            return
    raise AssertionError("no kill came in the middle of one")


def test_without_room_the_earlier_checkpoint_stays(run, monkeypatch):
    """The room is looked at before a byte is written; what was there is whole, and nothing else is left."""
    save(run, FACTS, {"epoch": 1})
    monkeypatch.setattr("trainers.run.folder.shutil.disk_usage", lambda _: SimpleNamespace(free=205_000))
    with pytest.raises(
        TrainingError, match=r"no room for a checkpoint: expected 1\.45 MB free, found 205 kB; make room"
    ):
        save(run, FACTS, {"model": {"a": TENSOR}})
    monkeypatch.undo()
    assert load_checkpoint(run.path("checkpoint.pt"), FACTS) == {"epoch": 1}
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    """Where another takes the room while a checkpoint is written, it is one line, and what was there is whole."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount(disk, "size=4m"):
        pytest.skip("this user may not mount a disk in memory")
    try:
        run = opened(disk)
        save(run, FACTS, {"model": {"a": TENSOR}})
        monkeypatch.setattr(checkpoint, "need_room", lambda *_: None)
        with pytest.raises(TrainingError, match=r"checkpoint.pt: can't write.*No space left.*make room there"):
            save(run, FACTS, {"model": {"a": TENSOR.repeat(10)}})
        assert load_checkpoint(run.path("checkpoint.pt"), FACTS)["model"]["a"].equal(TENSOR)
        assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]
    finally:
        subprocess.run(["umount", disk], check=True)
