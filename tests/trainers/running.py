"""Small trainings from start to end: run, stopped in a step, and compared bit for bit."""

import json
import os
import signal
from dataclasses import replace

import torch
from safetensors.torch import load_file

from tests.trainers.tiny import tiny_job
from trainers.pytorch.learner import TorchLearner
from trainers.run.inputs import find_checkpoint
from trainers.training.loop import Trainer

CLOCKS = {"images_per_second", "input_wait_s", "seconds"}  # what differs from run to run


def run_tiny(folder, config=None, **changes):
    """Train as a job does: from the checkpoint in its folder, if there is one."""
    job = replace(tiny_job(folder, config), **changes)
    return Trainer(job, find_checkpoint("auto", job.run, folder, job.checkpoint)).train(), job


def rows(folder):
    """Return the rows of metrics.jsonl without the times."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCKS} for line in lines]


def model_tensors(folder):
    """Return the tensors of the best model by name."""
    return load_file(folder / "run" / "model.safetensors")


def tensors(folder):
    """Return all tensors of the checkpoint by the keys that lead to them."""

    def walk(value, keys):
        if isinstance(value, torch.Tensor):
            yield keys, value
        elif isinstance(value, dict | list):
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(part, (*keys, key))

    return dict(walk(torch.load(folder / "run" / "checkpoint.pt", weights_only=True), ()))


def assert_same(one, other):
    """Both runs left the same numbers, bit for bit."""
    assert rows(one) == rows(other)
    for ours, theirs in ((tensors(one), tensors(other)), (model_tensors(one), model_tensors(other))):
        assert ours.keys() == theirs.keys()
        assert [keys for keys in ours if not ours[keys].equal(theirs[keys])] == []
    evaluations = [(folder / "run" / "coco_eval.json").read_text() for folder in (one, other)]
    assert evaluations[0] == evaluations[1]


def stop_at(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a signal in the middle of the step-th step from now."""
    train_step, count = TorchLearner.train_step, iter(range(1, 1000))

    def stopping(*arguments):
        if next(count) == step:
            os.kill(os.getpid(), number)
        return train_step(*arguments)

    monkeypatch.setattr(TorchLearner, "train_step", stopping)


ALL = {"ema": 0.9, "accumulate": 2, "batch_size": 1, "optimizer": "adamw", "learning_rate": 0.01, "epochs": 3}
