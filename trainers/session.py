"""A training, an evaluation, a prediction, put together from data that is right. From here on with torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainers import engine
from trainers.augment import Augment
from trainers.coco import Category
from trainers.coco_eval import Evaluator
from trainers.data import Loader
from trainers.distributed import joined
from trainers.errors import ConfigError
from trainers.inference import detect, evaluate
from trainers.intake import workers
from trainers.model import first_model, trained_model

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trainers.checkpoint import TrainedModel
    from trainers.config import Config
    from trainers.distributed import Group
    from trainers.evaluation import Evaluation
    from trainers.intake import Intake, Surroundings
    from trainers.outputs import Run


@dataclass(frozen=True)
class Start:
    """What a training starts from."""

    time: float  # when the job began, on time.monotonic's clock
    weights: Path | None  # None: random
    checkpoint: Path | None  # None: a new training


def train_model(config: Config, around: Surroundings, run: Run, data: Intake, start: Start) -> engine.Outcome:
    """Train a detector; what comes of it is in the folder of the run."""
    coco, validation = data.coco, data.split.validation
    with joined(around.place, config.device) as group:
        job = engine.Job(
            config=config,
            coco=coco,
            dataset=data.dataset.manifest.digest,
            split=hashlib.sha256(validation.tobytes()).hexdigest(),
            model=first_model(config, len(coco.categories) + 1, start.weights, group.device, around.log),
            training=_training_loader(config, data, group),
            validation=_looking_loader(config, data, validation, group),
            evaluator=lambda: Evaluator(coco, validation, data.pixels.sizes),
            run=run,
            log=around.log,
            group=group,
            started=start.time,
        )
        return engine.train(job, start.checkpoint)


def evaluate_model(config: Config, around: Surroundings, data: Intake, trained: TrainedModel) -> Evaluation | None:
    """Judge a `model.pt` by the validation pictures; only the first process gets the evaluation.

    Raises:
        ConfigError: it knows other categories than the pictures show.
    """
    theirs, ours = trained.categories, tuple((category.id, category.name) for category in data.coco.categories)
    if theirs != ours:
        raise ConfigError("this model.pt is of other categories", expected=_names(ours), found=_names(theirs))
    validation = data.split.validation
    with joined(around.place, config.device) as group:
        return evaluate(
            trained_model(config, trained, group.device),
            _looking_loader(config, data, validation, group),
            Evaluator(data.coco, validation, data.pixels.sizes),
            config,
            group=group,
            log=around.log,
        )


def find_boxes(config: Config, around: Surroundings, data: Intake, trained: TrainedModel) -> Evaluator:
    """Find what a `model.pt` knows in the pictures; in the first process the evaluator has all detections."""
    pictures = data.split.validation
    coco = replace(data.coco, categories=tuple(Category(*category) for category in trained.categories))
    evaluator = Evaluator(coco, pictures, data.pixels.sizes)
    with joined(around.place, config.device) as group:
        detect(
            trained_model(config, trained, group.device),
            _looking_loader(config, data, pictures, group),
            evaluator,
            config,
            group=group,
            log=around.log,
        )
    return evaluator


def _training_loader(config: Config, data: Intake, group: Group) -> Loader:
    return Loader(
        data.coco,
        data.pixels,
        data.split.train,
        batch_size=config.training.batch_size,
        workers=workers(config),
        device=group.device,
        seed=config.seed,
        shuffle=True,
        rank=group.place.rank,
        world=group.place.world,
        augment=Augment(config.augmentation),
    )


def _looking_loader(config: Config, data: Intake, pictures: NDArray[np.int64], group: Group) -> Loader:
    return Loader(
        data.coco,
        data.pixels,
        pictures,
        batch_size=config.evaluation.batch_size,
        workers=workers(config),
        device=group.device,
        shuffle=False,
        rank=group.place.rank,
        world=group.place.world,
    )


def _names(categories: tuple[tuple[int, str], ...]) -> str:
    return ", ".join(name for _, name in categories)
