"""A training in TensorFlow that takes seconds: a small detector finds squares; everything around it is real."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # so little work takes longer to share out than to do

import keras
import numpy as np
from safetensors.numpy import load_file

from tests.trainers.squares import DIGEST, SIDE, squares
from trainers.config import Config
from trainers.evaluation.coco import Evaluator
from trainers.keras.anchors import LEVELS, PER_CELL
from trainers.keras.batches import Batch, Loader
from trainers.keras.checkpoint import CHECKPOINT
from trainers.keras.devices import Devices, open_devices
from trainers.keras.learner import KerasLearner
from trainers.log import Log
from trainers.process import Place
from trainers.run.folder import Run
from trainers.run.inputs import find_checkpoint
from trainers.training.checkpoint import split_facts
from trainers.training.group import Group
from trainers.training.loop import Job, Trainer
from trainers.training.model_file import ModelInfo

if TYPE_CHECKING:
    from pathlib import Path

NAME = "retinanet_resnet18_fpn_keras"
CLOCKS = {"images_per_second", "input_wait_s", "seconds"}  # what differs from run to run


def tiny_config(**training: object) -> Config:
    """Make a configuration for a few steps on the CPU."""
    return Config.model_validate(
        {
            "dataset": "squares/v1",
            "digest": DIGEST,
            "device": "cpu",
            "image": {"min_size": SIDE, "max_size": SIDE},
            "model": {"name": NAME, "weights": "random"},
            "training": {"epochs": 2, "batch_size": 2, "warmup_steps": 2, **training},
            "evaluation": {"batch_size": 2},
        }
    )


def tiny_detector(policy: str = "float32", seed: int = 0, *, norm: bool = True) -> Any:
    """Make a detector with the outputs of a RetinaNet for two categories, of a few convolutions."""
    keras.utils.set_random_seed(seed)
    image = features = keras.Input((None, None, 3))
    for number in range(3):
        features = keras.layers.Conv2D(16, 3, 2, "same", dtype=policy, name=f"body{number}")(features)
        if norm:
            features = keras.layers.BatchNormalization(momentum=0.9, dtype=policy, name=f"norm{number}")(features)
        features = keras.layers.ReLU(dtype=policy)(features)
    levels = [features]
    for _ in LEVELS[1:]:
        levels.append(keras.layers.AveragePooling2D(2, padding="same", dtype=policy)(levels[-1]))
    rare = keras.initializers.Constant(-4.6)  # a probability of 0.01
    heads = {
        "cls_logits": keras.layers.Conv2D(PER_CELL * 2, 3, padding="same", bias_initializer=rare, dtype=policy),
        "bbox_regression": keras.layers.Conv2D(PER_CELL * 4, 3, padding="same", dtype=policy, name="boxes"),
    }
    heads["cls_logits"].name = "classes"
    outputs = {}
    for name, width in (("cls_logits", 2), ("bbox_regression", 4)):
        rows = [keras.layers.Reshape((-1, width), dtype=policy)(heads[name](level)) for level in levels]
        outputs[name] = keras.layers.Concatenate(1, dtype=policy)(rows)
    return keras.Model(image, outputs)


def tiny_info(config: Config) -> ModelInfo:
    """Describe the model of such a job."""
    return ModelInfo(
        framework="keras",
        name=config.model.name,
        categories=((3, "red"), (8, "green")),
        min_size=config.image.min_size,
        max_size=config.image.max_size,
        reference="squares@v1",
        digest=DIGEST,
        split=split_facts(config),
    )


def tiny_learner(config: Config, devices: Devices | None = None, *, norm: bool = True) -> KerasLearner:
    """Make a learner of the small detector."""
    devices = devices or open_devices("cpu", Place())
    policy = devices.policy(config.training)
    with devices.strategy.scope():
        model = tiny_detector(policy, config.seed, norm=norm)
        average = tiny_detector(policy, config.seed, norm=norm) if config.training.ema else None
    return KerasLearner(model, average, config, devices)


def tiny_job(folder: Path, config: Config | None = None, count: int = 10) -> Job[Batch]:
    """Make a job whose run is in ``folder``: 6 of 10 images to train on, 4 to validate on."""
    config = config or tiny_config()
    coco, pixels = squares(count)
    training, validation = np.arange(count - 4), np.arange(count - 4, count)
    folder.mkdir(exist_ok=True)
    run = Run(folder / "run")
    run.open()
    learner = tiny_learner(config)
    sizes = {"replicas": learner.replicas, "workers": 2}
    batch = config.training.batch_size
    return Job(
        config=config,
        coco=coco,
        model=tiny_info(config),
        split="0123abcd",
        learner=learner,
        training=Loader(coco, pixels, training, batch_size=batch, seed=config.seed, shuffle=True, **sizes),
        validation=Loader(coco, pixels, validation, batch_size=config.evaluation.batch_size, shuffle=False, **sizes),
        evaluator=lambda: Evaluator(coco, validation, pixels.sizes),
        run=run,
        checkpoint=CHECKPOINT,
        log=Log(),
        group=Group(Place()),
        started=time.monotonic(),
    )


def run_tiny(folder: Path, config: Config | None = None, **changes: Any) -> Any:
    """Train as a job does: from the checkpoint in its folder, if there is one."""
    job = replace(tiny_job(folder, config), **changes)
    return Trainer(job, find_checkpoint("auto", job.run, folder, job.checkpoint)).train()


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl without the times."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCKS} for line in lines]


def arrays(folder: Path, name: str = CHECKPOINT) -> dict[str, Any]:
    """Return the arrays of a file of a run."""
    return dict(load_file(folder / "run" / name))
