"""A training, an evaluation, a prediction, put together from data that is right. From here on with torch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trainers.dataset.coco import Category
from trainers.dataset.prepare import workers
from trainers.errors import ConfigError
from trainers.evaluation.coco import Evaluator
from trainers.log import Log
from trainers.process import Place
from trainers.pytorch import inference, loop
from trainers.pytorch.augment import Augment
from trainers.pytorch.checkpoint import TrainedModel
from trainers.pytorch.distributed import Group, joined
from trainers.pytorch.loader import Loader
from trainers.pytorch.model import first_model, trained_model
from trainers.report import write
from trainers.report.report import MOST_SAMPLES
from trainers.report.samples import Sample
from trainers.run.folder import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.prepare import PreparedData
    from trainers.evaluation.scores import Evaluation
    from trainers.run.folder import Run
    from trainers.run.inputs import Start


def train(config: Config, context: RunContext, run: Run, data: PreparedData, start: Start) -> loop.Outcome:
    """Train a detector; what comes of it is in the folder of the run."""
    coco, validation = data.coco, data.split.validation
    with joined(context.place, config.device) as group:
        job = loop.Job(
            config=config,
            coco=coco,
            dataset=data.dataset.manifest.digest,
            split=hashlib.sha256(validation.tobytes()).hexdigest(),
            model=first_model(config, len(coco.categories) + 1, start.weights, group.device, context.log),
            training=_training_loader(config, data, group),
            validation=_evaluation_loader(config, data, validation, group),
            evaluator=lambda: Evaluator(coco, validation, data.pixels.sizes),
            run=run,
            log=context.log,
            group=group,
            started=start.time,
        )
        record = write.begin(config, data, run, start.weights, device=str(group.device), world=group.place.world)
        with write.recorded(run, record, first=group.is_first):
            outcome = loop.train(job, start.checkpoint)
            if group.is_first:
                write.finish(run, record, outcome.resumed, _samples(config, data, run, group))
        return outcome


def evaluate(config: Config, context: RunContext, data: PreparedData, path: Path) -> Evaluation | None:
    """Judge a `model.pt` by the validation images; only the first process gets the evaluation.

    Raises:
        ConfigError: it knows other categories than the images show.
    """
    trained = TrainedModel.read(path)
    theirs, ours = trained.categories, tuple((category.id, category.name) for category in data.coco.categories)
    if theirs != ours:
        raise ConfigError("this model.pt is of other categories", expected=_names(ours), found=_names(theirs))
    validation = data.split.validation
    with joined(context.place, config.device) as group:
        return inference.evaluate(
            trained_model(config, trained, group.device),
            _evaluation_loader(config, data, validation, group),
            Evaluator(data.coco, validation, data.pixels.sizes),
            config,
            group=group,
            log=context.log,
        )


def predict(config: Config, context: RunContext, data: PreparedData, path: Path) -> Evaluator:
    """Find what a `model.pt` knows in the images; in the first process the evaluator has all detections."""
    trained, images = TrainedModel.read(path), data.split.validation
    coco = replace(data.coco, categories=tuple(Category(*category) for category in trained.categories))
    evaluator = Evaluator(coco, images, data.pixels.sizes)
    with joined(context.place, config.device) as group:
        inference.detect(
            trained_model(config, trained, group.device),
            _evaluation_loader(config, data, images, group),
            evaluator,
            config,
            group=group,
            log=context.log,
        )
    return evaluator


def _samples(config: Config, data: PreparedData, run: Run, group: Group) -> list[Sample]:
    """Show the best weights a few validation images with boxes, where such images may be in the report."""
    if not config.report.samples:
        return []
    with_boxes = [
        index for index in data.split.validation.tolist() if data.coco.offsets[index + 1] > data.coco.offsets[index]
    ]
    chosen = np.array(with_boxes[:: max(1, len(with_boxes) // MOST_SAMPLES)][:MOST_SAMPLES], np.int64)
    alone = Group(Place(), group.device)
    evaluator = Evaluator(data.coco, chosen, data.pixels.sizes)
    model = trained_model(config, TrainedModel.read(run.path(MODEL)), group.device)
    inference.detect(
        model, _evaluation_loader(config, data, chosen, alone), evaluator, config, group=alone, log=Log(quiet=True)
    )
    found = evaluator.state()
    ends = np.cumsum(found["counts"])[:-1]
    parts = zip(*(np.split(found[name], ends) for name in ("boxes", "labels", "scores")), strict=True)
    return [_sample(data, index, *part) for index, part in zip(found["indices"].tolist(), parts, strict=True)]


def _sample(
    data: PreparedData, index: int, boxes: NDArray[np.float64], labels: NDArray[np.int64], scores: NDArray[np.float64]
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


def _training_loader(config: Config, data: PreparedData, group: Group) -> Loader:
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


def _evaluation_loader(config: Config, data: PreparedData, images: NDArray[np.int64], group: Group) -> Loader:
    return Loader(
        data.coco,
        data.pixels,
        images,
        batch_size=config.evaluation.batch_size,
        workers=workers(config, group.place.local_world),
        device=group.device,
        shuffle=False,
        rank=group.place.rank,
        world=group.place.world,
    )


def _names(categories: tuple[tuple[int, str], ...]) -> str:
    return ", ".join(name for _, name in categories)
