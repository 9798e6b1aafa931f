"""The four commands: check, train, evaluate, predict. A framework is imported only once the data has been checked.

Its import takes seconds and swallows the error of a signal that comes in the meantime, so signals are checked after it.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

from trainers.config import framework_of
from trainers.dataset.prepare import check_data, prepare_data
from trainers.errors import TrainingError
from trainers.prediction import run_job
from trainers.process import check_signals
from trainers.run.folder import EVALUATION, PREDICTIONS
from trainers.run.inputs import Start, find_checkpoint, find_model, find_weights

if TYPE_CHECKING:
    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.verify import Dataset
    from trainers.prediction import FolderJob
    from trainers.run.folder import Run


def check(config: Config, context: RunContext, _run: Run) -> str:
    """Check the data as the configuration says; return the dataset's reference and digest."""
    return _checked(config, check_data(config, context))


def check_images(config: Config, context: RunContext, _run: Run) -> str:
    """Check the data and decode every image of both COCO files; return the dataset's reference and digest."""
    return _checked(config, check_data(config, context, decode=True))


def train(config: Config, context: RunContext, run: Run) -> str:
    """Train a detector on checked data; return the run's name and its mAP."""
    began = time.monotonic()
    framework = framework_of(config.model.name)
    weights = find_weights(config.model.weights, context.base, framework.weights)
    checkpoint = find_checkpoint(config.resume, run, context.base, framework.checkpoint)
    data = prepare_data(config, context, "train")
    outcome = _jobs(config).train(config, context, run, data, Start(began, weights, checkpoint))
    evaluation = outcome.best.get("evaluation")  # only in the first process
    unfinished = "" if outcome.finished else ", stopped by training.max_hours; run the same job again to go on"
    return f"{run.folder.name} mAP={_score(evaluation and evaluation['mAP'])}{unfinished}"


def evaluate(config: Config, context: RunContext, run: Run) -> str:
    """Evaluate a trained detector on the validation images; return the run's name and its mAP."""
    model = find_model(config.evaluation.model, run, context.base)
    data = prepare_data(config, context, "validation")
    evaluation = _jobs(config).evaluate(config, context, data, model)
    if evaluation is None:  # only the first process has it
        return run.folder.name
    run.write_json(EVALUATION, evaluation.to_json())
    return f"{run.folder.name} mAP={_score(evaluation.at100.all.AP)}"


def predict(config: Config, context: RunContext, run: Run) -> str:
    """Write what a trained model detects in the images of ``data.eval``; return the run's name and the count."""
    model = find_model(config.evaluation.model, run, context.base)
    data = prepare_data(config, context, "eval")
    detections = _jobs(config).predict(config, context, data, model)
    if not context.place.is_first:
        return run.folder.name
    count = run.write_rows(PREDICTIONS, detections.results())
    return f"{run.folder.name} {count:,} detections in {len(data.coco):,} images"


def detect(job: FolderJob, context: RunContext, run: Run) -> str:
    """Write what the model of this image detects in a folder of images; return the run's name and the counts."""
    return run_job(job, context, run, _jobs(job.config))


def _jobs(config: Config) -> Any:
    """Import the jobs of the framework that `model.name` selects.

    Raises:
        TrainingError: it is not installed.
    """
    framework = framework_of(config.model.name)
    try:
        jobs = importlib.import_module(framework.jobs)
    except ModuleNotFoundError as error:
        check_signals()
        name = error.name or str(error)
        if name.startswith(("datapack.", "trainers.")):
            raise
        fix = f"use an image with {framework.title}, or install it in a clone: {framework.install}"
        raise TrainingError(
            "a package is missing", where=f"model.name {config.model.name}", found=f"no {name}", fix=fix
        ) from error
    check_signals()
    return jobs


def _checked(config: Config, dataset: Dataset) -> str:
    """Say which dataset was checked; a quick check is no proof of its bytes."""
    return f"{dataset.reference} {dataset.manifest.digest}" + (" (verify: quick)" if config.verify == "quick" else "")


def _score(value: float | None) -> str:
    """Format a mean average precision; there is none if no validation image has boxes."""
    return "none" if value is None else f"{value:.3f}"
