"""Run a detector on held-out images: its detections, and how good they are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from trainers.training.learner import BatchT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from trainers.evaluation.coco import Evaluator
    from trainers.evaluation.scores import Evaluation
    from trainers.log import Log
    from trainers.training.group import Group
    from trainers.training.learner import Detector, Loader


@dataclass(frozen=True)
class Confident(Generic[BatchT]):
    """A detector of which only the detections with at least ``score`` are kept, so that many images need no memory."""

    detector: Detector[BatchT]
    score: float

    def detecting(self) -> AbstractContextManager[None]:
        """See `Detector`."""
        return self.detector.detecting()

    def detect(self, batch: BatchT) -> list[Mapping[str, NDArray[Any]]]:
        """See `Detector`."""
        rows = self.detector.detect(batch)
        kept = [np.asarray(row["scores"]) >= self.score for row in rows]
        return [{name: row[name][few] for name in row} for row, few in zip(rows, kept, strict=True)]


def evaluate(
    detector: Detector[BatchT],
    loader: Loader[BatchT],
    evaluator: Evaluator,
    score: float,
    *,
    group: Group,
    log: Log,
    between: Callable[[], None] = lambda: None,
) -> Evaluation | None:
    """Evaluate a detector on the images of a loader, as `detect` does; only the first process gets the evaluation.

    ``score`` is the lowest one of a detection that counts in the confusion matrix.
    """
    detect(detector, loader, evaluator, group=group, log=log, between=between)
    return evaluator.summarize(score) if group.is_first else None


def detect(
    detector: Detector[BatchT],
    loader: Loader[BatchT],
    evaluator: Evaluator,
    *,
    group: Group,
    log: Log,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Run a detector on the images of a loader.

    Args:
        detector: the model.
        loader: the images; each process has a part of them.
        evaluator: of all these images; afterwards the one of the first process has all detections.
        group: the processes.
        log: where progress is shown.
        between: called after each batch, equally often in all processes.
    """
    rounds = max(group.gather(loader.batches))
    with (
        detector.detecting(),
        contextlib.closing(loader.epoch(0)) as batches,
        log.progress("running the detector", rounds, "batches") as advance,
    ):
        for _ in range(rounds):
            batch = next(batches, None)  # a process may have one less than another
            if batch is not None:
                evaluator.add(batch.indices, detector.detect(batch))
            advance(1)
            between()
    states = group.gather(evaluator.state())
    if group.is_first:
        for state in states[1:]:
            evaluator.merge(state)
