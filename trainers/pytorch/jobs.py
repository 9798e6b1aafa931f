"""A training, an evaluation, a prediction: each is set up from checked data and run."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trainers.dataset.coco import Category
from trainers.dataset.reading import workers
from trainers.errors import ConfigError
from trainers.evaluation.coco import Evaluator
from trainers.log import Log
from trainers.process import Place
from trainers.pytorch import inference
from trainers.pytorch.augment import Augment
from trainers.pytorch.checkpoint import TrainedModel, split_facts
from trainers.pytorch.distributed import Group, join_group
from trainers.pytorch.loader import Loader
from trainers.pytorch.loop import Job, Outcome, Trainer
from trainers.pytorch.model import new_model, trained_model
from trainers.pytorch.weights import read
from trainers.report import write
from trainers.report.report import MOST_SAMPLES
from trainers.report.samples import Sample
from trainers.run.folder import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.prepare import PreparedData
    from trainers.evaluation.scores import Evaluation
    from trainers.run.folder import Run
    from trainers.run.inputs import Start


def train(config: Config, context: RunContext, run: Run, data: PreparedData, start: Start) -> Outcome:
    """Train a detector; the results go to the folder of the run."""
    with join_group(context.place, config.device) as group:
        model, digest = _first_model(config, context, data, start, group)
        job = _job(config, context, run, data, start, group, model)
        record = write.begin(config, data, run, digest, device=str(group.device), processes=group.place.world)
        with write.recorded(run, record, first=group.is_first):
            outcome = Trainer(job, start.checkpoint).train()
            if group.is_first:
                write.finish(run, record, outcome.resumed, _samples(config, data, run, group))
        return outcome


def _first_model(
    config: Config, context: RunContext, data: PreparedData, start: Start, group: Group
) -> tuple[nn.Module, str | None]:
    """Build the model that a training starts with; return it with the digest of its weights, if they are of a file."""
    weights = read(start.weights, config.model.name) if start.weights else None
    model = new_model(config, len(data.coco.categories) + 1, weights, group.device, context.log)
    return model, weights.digest if weights else None


def _job(
    config: Config,
    context: RunContext,
    run: Run,
    data: PreparedData,
    start: Start,
    group: Group,
    model: nn.Module,
) -> Job:
    coco, validation = data.coco, data.split.validation
    return Job(
        config=config,
        coco=coco,
        dataset=data.dataset.manifest.digest,
        split=hashlib.sha256(validation.tobytes()).hexdigest(),
        model=model,
        training=_training_loader(config, data, group),
        validation=_evaluation_loader(config, data, validation, group),
        evaluator=lambda: Evaluator(coco, validation, data.pixels.sizes),
        run=run,
        log=context.log,
        group=group,
        started=start.time,
    )


def evaluate(config: Config, context: RunContext, data: PreparedData, model: Path) -> Evaluation | None:
    """Evaluate a `model.pt` on the validation images; only the first process gets the evaluation.

    Raises:
        ConfigError: the model has other categories than the images.
    """
    trained = TrainedModel.read(model)
    theirs, ours = trained.categories, tuple((category.id, category.name) for category in data.coco.categories)
    if theirs != ours:
        raise ConfigError("this model.pt has other categories", expected=_names(ours), found=_names(theirs))
    _check_split(config, data, trained)
    validation = data.split.validation
    with join_group(context.place, config.device) as group:
        return inference.evaluate(
            trained_model(config, trained, group.device),
            _evaluation_loader(config, data, validation, group),
            Evaluator(data.coco, validation, data.pixels.sizes),
            config,
            group=group,
            log=context.log,
        )


def _check_split(config: Config, data: PreparedData, trained: TrainedModel) -> None:
    """Raise `ConfigError` if a model may have been trained on images that are now for validation."""
    ours, theirs = split_facts(config), trained.split
    if trained.dataset == data.dataset.manifest.digest and theirs != ours:
        differing = [key for key in ours if theirs.get(key) != ours[key]]
        raise ConfigError(
            "this model.pt was trained on another split: it has seen images that are now for validation",
            expected=", ".join(f"{key} {ours[key]!r}" for key in differing),
            found=", ".join(f"{key} {theirs.get(key)!r}" for key in differing),
            fix="evaluate it with the configuration of its training",
        )


def predict(config: Config, context: RunContext, data: PreparedData, model: Path) -> Evaluator:
    """Run a `model.pt` on the images; in the first process the evaluator has all detections."""
    trained, images = TrainedModel.read(model), data.split.validation
    coco = replace(data.coco, categories=tuple(Category(*category) for category in trained.categories))
    evaluator = Evaluator(coco, images, data.pixels.sizes)
    with join_group(context.place, config.device) as group:
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
    """Run the best weights on a few validation images with boxes, if images may be in the report."""
    if not config.report.samples:
        return []
    counts = data.coco.targets().counts
    with_boxes = [index for index in data.split.validation.tolist() if counts[index]]
    chosen = np.array(with_boxes[:: max(1, len(with_boxes) // MOST_SAMPLES)][:MOST_SAMPLES], np.int64)
    alone = Group(Place(), group.device)
    evaluator = Evaluator(data.coco, chosen, data.pixels.sizes)
    model = trained_model(config, TrainedModel.read(run.path(MODEL)), group.device)
    loader = _evaluation_loader(config, data, chosen, alone)
    inference.detect(model, loader, evaluator, config, group=alone, log=Log(quiet=True))
    found = evaluator.state()
    ends = np.cumsum(found["counts"])[:-1]
    parts = zip(*(np.split(found[name], ends) for name in ("boxes", "labels", "scores")), strict=True)
    return [_sample(data, index, *part) for index, part in zip(found["indices"].tolist(), parts, strict=True)]


def _sample(
    data: PreparedData, index: int, boxes: NDArray[np.float64], labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> Sample:
    targets = data.coco.targets(data.pixels.sizes)
    own = slice(*targets.offsets[index : index + 2])
    scale = np.tile(data.pixels.sizes[index] / data.coco.sizes[index], 2)  # boxes are in the file's pixels
    return Sample(
        name=data.coco.file_names[index],
        image=data.pixels.read(index),
        boxes=targets.boxes[own],
        labels=targets.labels[own],
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
