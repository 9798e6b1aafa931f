"""Checkpoints are complete or absent, and those of another training are refused."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from tests.trainers.havens import PROJECT
from tests.trainers.tiny import DIGEST, squares, tiny_config
from tests.workplace import mount
from trainers.config import Config
from trainers.errors import ConfigError, TrainingError
from trainers.pytorch import checkpoint
from trainers.pytorch.checkpoint import TrainedModel, job_facts, load_checkpoint, save_checkpoint, save_model
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


def test_a_saved_checkpoint_loads(run):
    """Tensors and plain values come back as they were."""
    save_checkpoint(run, FACTS, {"model": {"a": TENSOR}, "epoch": 3, "best": None, "rows": [{"mAP": 0.5}]})
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
def test_settings_without_effect_on_the_numbers_may_change(run, change):
    """Threads, checks, reports and the time limit may differ from start to start."""
    save_checkpoint(run, FACTS, {"epoch": 1})
    config = Config.model_validate({**tiny_config().model_dump(), **change})
    assert load_checkpoint(run.path("checkpoint.pt"), job_facts(config, DIGEST, "0123", 1)) == {"epoch": 1}


def test_the_checkpoint_of_another_training_is_refused(run):
    """The error names the keys of train.yml that differ, with the current and the earlier value."""
    save_checkpoint(run, FACTS, {})
    facts = job_facts(tiny_config(epochs=3, learning_rate=0.5), DIGEST, "0123", 4)
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(run.path("checkpoint.pt"), facts)
    assert (
        "checkpoint.pt: this checkpoint belongs to another training: found processes 4 was 1, training.epochs 3 was 2, "
        "training.learning_rate 0.5 was 0.02; set resume to never to start from scratch, or run to another name"
    ) in str(caught.value)


def test_the_checkpoint_of_another_dataset_or_split_is_refused(run):
    """A training does not resume on other images."""
    save_checkpoint(run, FACTS, {})
    path, other = run.path("checkpoint.pt"), "sha256:" + "2" * 64
    with pytest.raises(TrainingError, match=rf"to another dataset: expected {other}, found {DIGEST}"):
        load_checkpoint(path, job_facts(tiny_config(), other, "0123", 1))
    with pytest.raises(TrainingError, match="split '4567' was '0123'"):
        load_checkpoint(path, job_facts(tiny_config(), DIGEST, "4567", 1))


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_a_clear_error(run, share):
    """The error is one line that says what to do."""
    save_checkpoint(run, FACTS, {"model": {"a": TENSOR}})
    path = run.path("checkpoint.pt")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(TrainingError, match=r"checkpoint.pt: .*set resume to never"):
        load_checkpoint(path, FACTS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1], "not a checkpoint"),
        ({"model": {}}, "not a checkpoint"),
        ({"form": 0, "job": {}, "training": {}}, "a checkpoint of another version of the trainers"),
    ],
    ids=str,
)
def test_other_content_is_not_a_checkpoint(run, content, says):
    """A file that torch wrote but that is no checkpoint of this version is an error of one line."""
    torch.save(content, run.path("checkpoint.pt"))
    with pytest.raises(TrainingError, match=f"checkpoint.pt: {says}; set resume to never"):
        load_checkpoint(run.path("checkpoint.pt"), FACTS)


def test_a_model_pt_is_readable_by_others(run):
    """A model.pt has plain parts that other programs can read, and is not a checkpoint."""
    save_model(run, {"backbone.body.conv1.weight": TENSOR}, tiny_config(), squares(1)[0], DIGEST)
    content = torch.load(run.path("model.pt"), weights_only=True)
    assert {key: value for key, value in content.items() if key != "model"} == {
        "name": "fasterrcnn_resnet50_fpn_v2",
        "categories": [[3, "red"], [8, "green"]],
        "min_size": 64,
        "max_size": 64,
        "dataset": DIGEST,
        "split": {
            "seed": 0,
            "data.train": "train.json",
            "data.images": "images/train",
            "data.validation": 0.2,
            "data.sequences": "url",
            "data.skip_broken": [],
        },
    }
    assert TrainedModel.read(run.path("model.pt")).weights.tensors["backbone.body.conv1.weight"].equal(TENSOR)
    with pytest.raises(TrainingError, match="not a checkpoint"):
        load_checkpoint(run.path("model.pt"), FACTS)


def test_a_checkpoint_is_not_a_model_pt(run):
    """The file that `evaluation.model` names must be a model.pt."""
    save_checkpoint(run, FACTS, {"model": {"a": TENSOR}})
    with pytest.raises(ConfigError, match=r"checkpoint.pt: not a model.pt"):
        TrainedModel.read(run.path("checkpoint.pt"))


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
        tensor = load_checkpoint(run.path("checkpoint.pt"), {})["model"]["a"]
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
    save_checkpoint(run, FACTS, {"epoch": 1})
    monkeypatch.setattr("datapack.files.shutil.disk_usage", lambda _: SimpleNamespace(free=205_000))
    with pytest.raises(
        TrainingError, match=r"not enough space on the disk: expected 1\.45 MB, found 205 kB free; make room"
    ):
        save_checkpoint(run, FACTS, {"model": {"a": TENSOR}})
    monkeypatch.undo()
    assert load_checkpoint(run.path("checkpoint.pt"), FACTS) == {"epoch": 1}
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    """If the disk fills up during a save, the error is one line and the earlier checkpoint is intact."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount(disk, "size=4m"):
        pytest.skip("this user may not mount a disk in memory")
    try:
        run = opened(disk)
        save_checkpoint(run, FACTS, {"model": {"a": TENSOR}})
        monkeypatch.setattr(checkpoint, "check_space", lambda *_: None)
        with pytest.raises(TrainingError, match=r"run: the disk is full: found .* free; make room"):
            save_checkpoint(run, FACTS, {"model": {"a": TENSOR.repeat(10)}})
        assert load_checkpoint(run.path("checkpoint.pt"), FACTS)["model"]["a"].equal(TENSOR)
        assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]
    finally:
        subprocess.run(["umount", disk], check=True)
