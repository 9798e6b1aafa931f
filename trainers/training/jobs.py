"""A training, an evaluation, a prediction: each is set up from checked data and run, in whichever framework."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trainers.config import framework_of
from trainers.dataset.coco import Category
from trainers.errors import ConfigError
from trainers.evaluation.coco import Evaluator
from trainers.log import Log
from trainers.process import Place
from trainers.report import write
from trainers.report.report import MOST_SAMPLES
from trainers.report.samples import Sample
from trainers.run.folder import MODEL
from trainers.training import inference
from trainers.training.checkpoint import split_facts
from trainers.training.group import Group
from trainers.training.learner import BatchT
from trainers.training.loop import Job, Outcome, Trainer
from trainers.training.model_file import ModelInfo, TrainedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.prepare import PreparedData
    from trainers.evaluation.scores import Evaluation
    from trainers.run.folder import Run
    from trainers.run.inputs import Start
    from trainers.run.record import Device
    from trainers.training.learner import Detector, Learner, Loader


class Backend(Protocol[BatchT]):
    """A framework at work in one process: it has found its devices and the other processes."""

    @property
    def group(self) -> Group:
        """The processes."""

    @property
    def device(self) -> Device:
        """What `run.json` records of the devices and the versions in use."""

    def training_loader(self) -> Loader[BatchT]:
        """Return the images to train on, shuffled and augmented, in batches of ``training.batch_size``."""

    def evaluation_loader(self, images: NDArray[np.int64], group: Group) -> Loader[BatchT]:
        """Return images in batches of ``evaluation.batch_size``, divided among the processes of ``group``."""

    def learner(self, weights: Path | None) -> tuple[Learner[BatchT], str | None]:
        """Return the model that a training starts with, and the digest of its weights; None: random ones.

        Raises:
            ConfigError: the weights do not fit.
        """

    def detector(self, trained: TrainedModel) -> Detector[BatchT]:
        """Return a trained model.

        Raises:
            ConfigError: it does not fit the configuration.
        """


def train(
    backend: Backend[BatchT], config: Config, context: RunContext, run: Run, data: PreparedData, start: Start
) -> Outcome:
    """Train a detector; the results go to the folder of the run."""
    learner, digest = backend.learner(start.weights)
    job = _job(backend, learner, config, context, run, data, start)
    record = write.begin(config, data, run, digest, backend.device)
    with write.recorded(run, record, first=backend.group.is_first):
        outcome = Trainer(job, start.checkpoint).train()
        if backend.group.is_first:
            write.finish(run, record, outcome.resumed, _samples(backend, config, data, run))
    return outcome


def _job(
    backend: Backend[BatchT],
    learner: Learner[BatchT],
    config: Config,
    context: RunContext,
    run: Run,
    data: PreparedData,
    start: Start,
) -> Job[BatchT]:
    coco, validation = data.coco, data.split.validation
    return Job(
        config=config,
        coco=coco,
        model=model_info(config, data),
        split=hashlib.sha256(validation.tobytes()).hexdigest(),
        learner=learner,
        training=backend.training_loader(),
        validation=backend.evaluation_loader(validation, backend.group),
        evaluator=lambda: Evaluator(coco, validation, data.pixels.sizes),
        run=run,
        checkpoint=framework_of(config.model.name).checkpoint,
        log=context.log,
        group=backend.group,
        started=start.time,
    )


def model_info(config: Config, data: PreparedData) -> ModelInfo:
    """Return what is known about the model of a training."""
    return ModelInfo(
        framework=framework_of(config.model.name).name,
        name=config.model.name,
        categories=_categories(data),
        min_size=config.image.min_size,
        max_size=config.image.max_size,
        reference=data.dataset.reference,
        digest=data.dataset.manifest.digest,
        split=split_facts(config),
    )


def read_model(config: Config, path: Path) -> TrainedModel:
    """Read a `model.safetensors`.

    Raises:
        ConfigError: it is something else, damaged, or was trained with another configuration.
    """
    trained = TrainedModel.read(path, framework_of(config.model.name).name)
    own = {"model.name": config.model.name, "image.min_size": config.image.min_size}
    own["image.max_size"] = config.image.max_size
    info = trained.info
    theirs = dict(zip(own, (info.name, info.min_size, info.max_size), strict=True))
    if own != theirs:
        expected, found = (", ".join(f"{key} {value}" for key, value in facts.items()) for facts in (own, theirs))
        raise ConfigError(
            "this model was trained with another configuration", where=path, expected=expected, found=found
        )
    return trained


def read_model_to_evaluate(config: Config, data: PreparedData, path: Path) -> TrainedModel:
    """Read a `model.safetensors` for the validation images.

    Raises:
        ConfigError: as `read_model`; or it has other categories than the images, or was trained on some of them.
    """
    trained = read_model(config, path)
    theirs, ours = trained.info.categories, _categories(data)
    if theirs != ours:
        raise ConfigError("this model has other categories", where=path, expected=_names(ours), found=_names(theirs))
    _check_split(config, data, trained)
    return trained


def _check_split(config: Config, data: PreparedData, trained: TrainedModel) -> None:
    """Raise `ConfigError` if a model may have been trained on images that are now for validation."""
    ours, theirs = split_facts(config), trained.info.split
    if trained.info.digest == data.dataset.manifest.digest and theirs != ours:
        differing = [key for key in ours if theirs.get(key) != ours[key]]
        raise ConfigError(
            "this model was trained on another split: it has seen images that are now for validation",
            where=trained.path,
            expected=", ".join(f"{key} {ours[key]!r}" for key in differing),
            found=", ".join(f"{key} {theirs.get(key)!r}" for key in differing),
            fix="evaluate it with the configuration of its training",
        )


def evaluate(
    backend: Backend[BatchT], config: Config, context: RunContext, data: PreparedData, trained: TrainedModel
) -> Evaluation | None:
    """Evaluate a model on the validation images; only the first process gets the evaluation."""
    validation, group = data.split.validation, backend.group
    return inference.evaluate(
        backend.detector(trained),
        backend.evaluation_loader(validation, group),
        Evaluator(data.coco, validation, data.pixels.sizes),
        config.report.score,
        group=group,
        log=context.log,
    )


def predict(backend: Backend[BatchT], context: RunContext, data: PreparedData, trained: TrainedModel) -> Evaluator:
    """Run a model on the images; in the first process the evaluator has all detections."""
    images, group = data.split.validation, backend.group
    coco = replace(data.coco, categories=tuple(Category(*category) for category in trained.info.categories))
    evaluator = Evaluator(coco, images, data.pixels.sizes)
    inference.detect(
        backend.detector(trained),
        backend.evaluation_loader(images, group),
        evaluator,
        group=group,
        log=context.log,
    )
    return evaluator


def detect(
    backend: Backend[BatchT],
    context: RunContext,
    data: PreparedData,
    trained: TrainedModel,
    score: float,
    between: Callable[[int], None],
) -> Evaluator:
    """Run a model on images without boxes; keep the detections with at least ``score``.

    ``between`` is called after each batch with the number of images done.
    """
    images, group = data.split.validation, backend.group
    evaluator = Evaluator(data.coco, images, data.pixels.sizes)
    inference.detect(
        inference.Confident(backend.detector(trained), score),
        backend.evaluation_loader(images, group),
        evaluator,
        group=group,
        log=context.log,
        between=lambda: between(evaluator.seen),
    )
    return evaluator


def _samples(backend: Backend[BatchT], config: Config, data: PreparedData, run: Run) -> list[Sample]:
    """Run the best weights on a few validation images with boxes, if images may be in the report."""
    if not config.report.samples:
        return []
    counts = data.coco.targets().counts
    with_boxes = [index for index in data.split.validation.tolist() if counts[index]]
    chosen = np.array(with_boxes[:: max(1, len(with_boxes) // MOST_SAMPLES)][:MOST_SAMPLES], np.int64)
    alone = Group(Place())
    evaluator = Evaluator(data.coco, chosen, data.pixels.sizes)
    detector = backend.detector(read_model(config, run.path(MODEL)))
    loader = backend.evaluation_loader(chosen, alone)
    inference.detect(detector, loader, evaluator, group=alone, log=Log(quiet=True))
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


def _categories(data: PreparedData) -> tuple[tuple[int, str], ...]:
    return tuple((category.id, category.name) for category in data.coco.categories)


def _names(categories: tuple[tuple[int, str], ...]) -> str:
    return ", ".join(name for _, name in categories)
