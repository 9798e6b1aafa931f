"""Small trainings of whole runs: started, stopped in a step, and what they leave compared bit for bit."""

import json
import os
import signal
from dataclasses import replace

import torch
from tiny import tiny_job

from trainers.pytorch import loop
from trainers.pytorch.loop import train
from trainers.run.inputs import find_checkpoint

CLOCKS = {"images_per_second", "input_wait_s", "seconds"}  # what differs from run to run


def run_tiny(folder, config=None, **changes):
    """Train as a job would: from the checkpoint in its folder, if there is one."""
    job = replace(tiny_job(folder, config), **changes)
    return train(job, find_checkpoint("auto", job.run, folder)), job


def rows(folder):
    """What metrics.jsonl says, without what a clock measured."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCKS} for line in lines]


def tensors(folder, name="checkpoint.pt"):
    """All tensors of a file, by their way there."""

    def walk(value, way):
        if isinstance(value, torch.Tensor):
            yield way, value
        elif isinstance(value, dict | list):
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(part, (*way, key))

    return dict(walk(torch.load(folder / "run" / name, weights_only=True), ()))


def assert_same(one, other):
    """Both runs left the same numbers, bit for bit."""
    assert rows(one) == rows(other)
    for name in ("checkpoint.pt", "model.pt"):
        ours, theirs = tensors(one, name), tensors(other, name)
        assert ours.keys() == theirs.keys()
        assert [way for way in ours if not ours[way].equal(theirs[way])] == []
    evaluations = [(folder / "run" / "coco_eval.json").read_text() for folder in (one, other)]
    assert evaluations[0] == evaluations[1]


def stop_at(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a signal in the middle of the step-th step from now."""
    whole, count = loop._train_step, iter(range(1, 1000))

    def stopping(*arguments):
        if next(count) == step:
            os.kill(os.getpid(), number)
        return whole(*arguments)

    monkeypatch.setattr(loop, "_train_step", stopping)


ALL = {"ema": 0.9, "accumulate": 2, "batch_size": 1, "optimizer": "adamw", "learning_rate": 0.01, "epochs": 3}
