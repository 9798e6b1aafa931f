"""What the program does: check, train, evaluate, predict. Torch is imported after the data is known to be right."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trainers import checkpoint, intake, weights

if TYPE_CHECKING:
    from trainers.config import Config
    from trainers.intake import Surroundings
    from trainers.outputs import Run

PREDICTIONS = "predictions.json"


def check(config: Config, around: Surroundings, _run: Run) -> str:
    """Check the data as the configuration says; return which dataset it is."""
    dataset = intake.check(config, around)
    return f"{dataset.reference} {dataset.manifest.digest}"


def train(config: Config, around: Surroundings, run: Run) -> str:
    """Train a detector on data that was checked; return the run and its mAP."""
    began = time.monotonic()
    first, resume = weights.find(config.model.weights, around.base), checkpoint.find(config.resume, run, around.base)
    data = intake.take_in(config, around, "train")
    from trainers.session import Start, train_model

    outcome = train_model(config, around, run, data, Start(began, first, resume))
    judged = outcome.best.get("evaluation")  # in the first process; the others have nothing to say
    return f"{run.folder.name} mAP={_score(judged and judged['mAP'])}"


def evaluate(config: Config, around: Surroundings, run: Run) -> str:
    """Judge a trained detector by the validation pictures; return the run and its mAP."""
    model = checkpoint.find_model(config.evaluation.model, run, around.base)
    data = intake.take_in(config, around, "validation")
    from trainers.session import evaluate_model

    evaluation = evaluate_model(config, around, data, checkpoint.TrainedModel.read(model))
    if evaluation is None:  # another process has it
        return run.folder.name
    run.write_json(checkpoint.EVALUATION, evaluation.to_json())
    return f"{run.folder.name} mAP={_score(evaluation.at100.all.AP)}"


def predict(config: Config, around: Surroundings, run: Run) -> str:
    """Write what a trained detector finds in the pictures of ``data.eval``; return the run and how much it is."""
    model = checkpoint.find_model(config.evaluation.model, run, around.base)
    data = intake.take_in(config, around, "eval")
    from trainers.session import find_boxes

    found = find_boxes(config, around, data, checkpoint.TrainedModel.read(model))
    if not around.place.is_first:
        return run.folder.name
    count = run.write_rows(PREDICTIONS, found.results())
    return f"{run.folder.name} {count:,} detections in {len(data.coco):,} pictures"


def _score(value: float | None) -> str:
    """Write a mean average precision; where no picture for validation shows anything there is none."""
    return "none" if value is None else f"{value:.3f}"
