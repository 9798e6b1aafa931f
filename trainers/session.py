"""A training, an evaluation, a prediction, put together from data that is right. From here on with torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trainers import engine, story
from trainers.augment import Augment
from trainers.checkpoint import MODEL, TrainedModel
from trainers.coco import Category
from trainers.coco_eval import Evaluator
from trainers.data import Loader
from trainers.distributed import Group, joined
from trainers.errors import ConfigError
from trainers.inference import detect, evaluate
from trainers.intake import workers
from trainers.log import Log
from trainers.model import first_model, trained_model
from trainers.node import Place
from trainers.report import MOST_SAMPLES
from trainers.samples import Sample

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.config import Config
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
        record = story.begin(config, data, run, start.weights, group)
        with story.recorded(run, record, group):
            outcome = engine.train(job, start.checkpoint)
            if group.is_first:
                story.finish(run, record, outcome.resumed, _samples(config, data, run, group))
        return outcome


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


def _samples(config: Config, data: Intake, run: Run, group: Group) -> list[Sample]:
    """Show the best weights a few validation pictures with boxes, where such pictures may be in the report."""
    if not config.report.samples:
        return []
    with_boxes = [
        index for index in data.split.validation.tolist() if data.coco.offsets[index + 1] > data.coco.offsets[index]
    ]
    chosen = np.array(with_boxes[:: max(1, len(with_boxes) // MOST_SAMPLES)][:MOST_SAMPLES], np.int64)
    alone = Group(Place(), group.device)
    evaluator = Evaluator(data.coco, chosen, data.pixels.sizes)
    model = trained_model(config, TrainedModel.read(run.path(MODEL)), group.device)
    detect(model, _looking_loader(config, data, chosen, alone), evaluator, config, group=alone, log=Log(quiet=True))
    found = evaluator.state()
    ends = np.cumsum(found["counts"])[:-1]
    parts = zip(*(np.split(found[name], ends) for name in ("boxes", "labels", "scores")), strict=True)
    return [_sample(data, index, *part) for index, part in zip(found["indices"].tolist(), parts, strict=True)]


def _sample(
    data: Intake, index: int, boxes: NDArray[np.float64], labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> Sample:
    own = slice(data.coco.offsets[index], data.coco.offsets[index + 1])
    scale = np.tile(data.pixels.sizes[index] / data.coco.sizes[index], 2)  # of boxes: in the file's pixels
    return Sample(
        name=data.coco.file_names[index],
        image=data.pixels.read(index),
        boxes=data.coco.boxes[own] * scale,
        labels=data.coco.labels[own],
        found_boxes=boxes * scale,
        found_labels=labels,
        found_scores=scores,
    )


def _training_loader(config: Config, data: Intake, group: Group) -> Loader:
    return Loader(
        data.coco,
        data.pixels,
        data.split.train,
        batch_size=config.training.batch_size,
        workers=workers(config, group.place.local_world),
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
        workers=workers(config, group.place.local_world),
        device=group.device,
        shuffle=False,
        rank=group.place.rank,
        world=group.place.world,
    )


def _names(categories: tuple[tuple[int, str], ...]) -> str:
    return ", ".join(name for _, name in categories)
