"""The training loop: train an epoch, evaluate, keep the best weights, save a checkpoint.

Every random draw in a step follows from the seed, the epoch, the batch and the rank, so a training that resumes from a
checkpoint gives the same numbers as one that was never stopped.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from datapack.hashing import hash_file
from trainers.errors import StoppedError, TrainingError
from trainers.run.folder import EVALUATION, METRICS, MODEL
from trainers.training import inference
from trainers.training.checkpoint import check_checkpoint, checkpoint_head, job_facts
from trainers.training.learner import BatchT, Step
from trainers.training.losses import StepLosses, Sums, summary
from trainers.training.model_file import save_model
from trainers.training.plan import steps_of_epoch
from trainers.training.progress import Progress
from trainers.training.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainers.config import Config
    from trainers.dataset.coco import Coco
    from trainers.evaluation.coco import Evaluator
    from trainers.evaluation.scores import Evaluation
    from trainers.log import Log
    from trainers.run.folder import Run
    from trainers.training.group import Group
    from trainers.training.learner import Learner, Loader
    from trainers.training.model_file import ModelInfo


@dataclass(frozen=True)
class Job(Generic[BatchT]):
    """A model, the data to train and validate it on, and where the results go."""

    config: Config
    coco: Coco
    model: ModelInfo  # what is written beside the weights
    split: str  # a hash of the split: another split, another hash
    learner: Learner[BatchT]
    training: Loader[BatchT]
    validation: Loader[BatchT]
    evaluator: Callable[[], Evaluator]  # a new one for the validation images
    run: Run
    checkpoint: str  # the name of its file in the folder of the run
    log: Log
    group: Group
    started: float  # when the job began, on time.monotonic's clock

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps_of_epoch(self.training.batches, self.config.training.accumulate)

    @property
    def deadline(self) -> float:
        hours = self.config.training.max_hours
        return self.started + 3600 * hours if hours else math.inf

    @property
    def facts(self) -> dict[str, Any]:
        return job_facts(self.config, self.model.digest, self.split, self.learner.replicas)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training."""

    finished: bool  # False: the time limit ended it
    best: dict[str, Any]  # the line in metrics.jsonl of the weights in model.safetensors
    resumed: int  # epochs that earlier jobs had finished


class Trainer(Generic[BatchT]):
    """Trains the model of a job; the results go to the folder of its run.

    Args:
        job: what to train, and on what.
        resume: the checkpoint to resume from; None starts a new training.

    Raises:
        TrainingError: the checkpoint can't be used, or the processes were started for different jobs.
    """

    def __init__(self, job: Job[BatchT], resume: Path | None = None) -> None:
        self.job, self.config, self.group, self.learner = job, job.config, job.group, job.learner
        self.epochs = job.config.training.epochs
        _check_same_job(job)
        self.learner.start(self.epochs * job.steps)
        self.progress = Progress()
        self.stopping = Stopping(self.group, job.deadline)
        self._restore(resume)

    def train(self) -> Outcome:
        """Train to the last epoch, or until the time is up.

        Raises:
            StoppedError: a signal came; a checkpoint was saved.
            TrainingError: a loss is not finite, or memory or disk space ran out.
        """
        resumed, in_time = self.progress.epoch, True
        with self.stopping:
            while in_time and self.progress.epoch < self.epochs:
                in_time = self.train_one_epoch()
                evaluation = self.evaluate() if self._evaluation_is_due else None
                self.finish_epoch(evaluation)
                self.save_checkpoint()
        if self.progress.epoch < self.epochs:
            self.job.log.note(f"training.max_hours has passed: stopped {self._position}; {self._how_to_resume}")
        best = self.group.broadcast(self.progress.best)  # only the first process evaluates
        return Outcome(self.progress.epoch == self.epochs, best or {}, resumed)

    def train_one_epoch(self) -> bool:
        """Train to the end of the current epoch; return False if the time is up before."""
        progress, learner = self.progress, self.learner
        first = progress.step * self.config.training.accumulate
        began = time.monotonic() - progress.sums.seconds
        with (
            learner.training(),
            contextlib.closing(self.job.training.epoch(progress.epoch, first)) as batches,
            self.job.log.progress(f"epoch {progress.epoch + 1} of {self.epochs}", self.job.steps, "steps") as advance,
        ):
            advance(progress.step)
            while progress.step < self.job.steps:
                learner.train_step(self._next_step, self._timed(batches))
                progress.step += 1
                advance(1)
                events = self.stopping.poll()
                pauses = bool(events) or progress.step == self.job.steps
                self._add_losses(learner.read_losses(keep=0 if pauses else 1))
                progress.sums.seconds = time.monotonic() - began
                if pauses:
                    self.stopping.poll()  # raises, so that weights that are not finite are never evaluated or saved
                if events.stop_requested:
                    self.stop()
                if events.checkpoint_due:
                    self.save_checkpoint()
                if events.out_of_time:
                    return False
        return True

    def evaluate(self) -> Evaluation | None:
        """Evaluate the model on the validation images; only the first process gets the result."""
        job = self.job
        return inference.evaluate(
            self.learner,
            job.validation,
            job.evaluator(),
            self.config.report.score,
            group=self.group,
            log=job.log,
            between=self._stop_if_requested,
        )

    def finish_epoch(self, evaluation: Evaluation | None) -> None:
        """Log how the epoch went, keep its weights if they are the best, and begin the next one.

        An epoch that the time limit cut short is logged and evaluated too; the resumed training continues in it.
        """
        progress, sums = self.progress, self.group.gather(self.progress.sums)
        row = {
            "epoch": progress.epoch + 1,
            "step": progress.epoch * self.job.steps + progress.step,
            **summary(sums),
            "learning_rate": self.learner.learning_rate,
            "evaluation": evaluation.brief() if evaluation else None,
        }
        if self.group.is_first:
            self.job.log.note(_sentence(row, self.epochs))
            if evaluation:
                self._keep_best(row, evaluation)
            self.job.run.append_json(METRICS, row)
        if progress.step == self.job.steps:
            progress.rows.append(row)
            progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, Sums()

    def save_checkpoint(self) -> None:
        """Save everything that the training resumes from."""
        sums = self.group.gather(self.progress.sums)
        if self.group.is_first:
            self.learner.save_checkpoint(self.job.run, checkpoint_head(self.job.facts, self.progress.to_json(sums)))
        self.stopping.saved_at = time.monotonic()

    def stop(self) -> None:
        """Save a checkpoint and raise `StoppedError`."""
        self.save_checkpoint()
        at = self.progress
        raise StoppedError(
            f"stopped in epoch {at.epoch + 1} of {self.epochs}, after step {at.step} of {self.job.steps}",
            fix=self._how_to_resume,
        )

    def _restore(self, resume: Path | None) -> None:
        """Load a checkpoint, and make the folder of the run agree with it.

        Only the first process reads and writes files: other nodes may have their own folders.
        """
        first, content = self.group.is_first, None
        if first and resume:
            content = check_checkpoint(self.learner.read_checkpoint(resume), resume, self.job.facts)
        content = self.group.broadcast(content)
        if content:
            self.learner.restore(content["state"])
            self.progress = Progress.from_json(content["progress"], self.group.place.rank)
            at = self._position if self.progress.epoch < self.epochs else "at the end"
            self.job.log.note(f"resuming from {resume}: {at}")
        if first:
            self._prepare_folder(resume)

    def _prepare_folder(self, resume: Path | None) -> None:
        progress, run = self.progress, self.job.run
        if resume is None:  # the checkpoint of an earlier training must go, or `auto` would resume from it
            run.remove(self.job.checkpoint)
        elif not self._has_best_model():
            if progress.epoch == self.epochs:
                fix = "it is in the folder where it was trained; to train again, set resume to never"
                raise TrainingError("this training is finished, and its model is not here", where=resume, fix=fix)
            progress.best = None  # that model is in another folder: this one gets the best from now on
        with run.write(METRICS) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in progress.rows)

    def _has_best_model(self) -> bool:
        """Whether the folder has the best model so far with its evaluation, and not those of another training."""
        model, evaluation = self.job.run.path(MODEL), self.job.run.path(EVALUATION)
        return model.is_file() and evaluation.is_file() and hash_file(model) == self.progress.model_hash

    @property
    def _next_step(self) -> Step:
        progress, accumulate = self.progress, self.config.training.accumulate
        first = progress.step * accumulate
        return Step(progress.epoch, progress.step + 1, first, min(accumulate, self.job.training.batches - first))

    def _timed(self, batches: Iterator[BatchT]) -> Iterator[BatchT]:
        """Yield the batches, and add up the images and the time that they take to come."""
        sums = self.progress.sums
        while True:
            began = time.monotonic()
            batch = next(batches)
            sums.input_wait_s += time.monotonic() - began
            sums.images += len(batch.indices)
            yield batch

    def _add_losses(self, steps: list[StepLosses]) -> None:
        """Add losses to those of the epoch; the first one that is not finite is a failure."""
        for step in steps:
            if not step.is_finite:
                names = self.job.coco.file_names
                self.stopping.failure = TrainingError(
                    f"the loss is not finite in epoch {self.progress.epoch + 1}, step {step.step}",
                    found=step.not_finite(),
                    details=tuple(f"image {names[index]}" for index in step.indices),
                )
                return
            self.progress.sums.add(step)

    @property
    def _evaluation_is_due(self) -> bool:
        number = self.progress.epoch + 1
        cut_short = self.progress.step < self.job.steps
        return number % self.config.evaluation.every == 0 or number == self.epochs or cut_short

    def _keep_best(self, row: dict[str, Any], evaluation: Evaluation) -> None:
        """Write the model and its evaluation, unless an earlier epoch was better.

        The best by mAP, not the last: on a small dataset a detector can get worse again. Of equals the later one.
        """
        if self.progress.best is not None and _map(row) < _map(self.progress.best):
            return
        job, self.progress.best = self.job, row
        self.progress.model_hash = save_model(job.run, self.learner.serialized(job.model.to_metadata()))
        job.run.write_json(EVALUATION, evaluation.to_json())

    def _stop_if_requested(self) -> None:
        if self.stopping.poll().stop_requested:
            self.stop()

    @property
    def _position(self) -> str:
        return f"in epoch {self.progress.epoch + 1} of {self.epochs}, step {self.progress.step} of {self.job.steps}"

    @property
    def _how_to_resume(self) -> str:
        return f"the same job {'' if self.config.resume == 'auto' else 'with resume: auto '}resumes from there"


def _check_same_job(job: Job[BatchT]) -> None:
    """Raise `TrainingError` unless all processes, possibly on several nodes, were started for the same job."""
    for rank, facts in enumerate(job.group.gather(job.facts)):
        if facts != job.facts:
            fix = "give all nodes the same configuration and the same data"
            raise TrainingError(f"process {rank} has a different job from process {job.group.place.rank}", fix=fix)


def _sentence(row: dict[str, Any], epochs: int) -> str:
    scores = row["evaluation"] or {}
    shown = "".join(f"{name} {scores[name]:.3f}, " for name in ("mAP", "mAP50") if scores.get(name) is not None)
    speed = f"{row['images_per_second']:.3g} images/s, {row['seconds']:.0f} s"
    return f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4g}, {shown}{speed}"


def _map(row: dict[str, Any]) -> float:
    found = row["evaluation"]["mAP"]
    return -1.0 if found is None else float(found)
