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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datapack.hashing import hash_file
from trainers.errors import StoppedError, TrainingError
from trainers.pytorch import checkpoint, inference
from trainers.pytorch.distributed import gradient_sync
from trainers.pytorch.losses import DeferredLosses, StepLosses, Sums, summary
from trainers.pytorch.optim import clip_gradient
from trainers.pytorch.state import State
from trainers.pytorch.stopping import Stopping
from trainers.run.folder import CHECKPOINT, EVALUATION, METRICS, MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor, nn

    from trainers.config import Config
    from trainers.dataset.coco import Coco
    from trainers.evaluation.coco import Evaluator
    from trainers.evaluation.scores import Evaluation
    from trainers.log import Log
    from trainers.pytorch.distributed import Group
    from trainers.pytorch.loader import Batch, Loader
    from trainers.run.folder import Run


@dataclass(frozen=True)
class Job:
    """A model, the data to train and validate it on, and where the results go."""

    config: Config
    coco: Coco
    dataset: str  # digest
    split: str  # a hash of the split: another split, another hash
    model: nn.Module  # on its device
    training: Loader
    validation: Loader
    evaluator: Callable[[], Evaluator]  # a new one for the validation images
    run: Run
    log: Log
    group: Group
    started: float  # when the job began, on time.monotonic's clock

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last one may have fewer batches than `accumulate`."""
        return -(-self.training.batches // self.config.training.accumulate)

    @property
    def deadline(self) -> float:
        hours = self.config.training.max_hours
        return self.started + 3600 * hours if hours else math.inf

    @property
    def facts(self) -> dict[str, Any]:
        return checkpoint.job_facts(self.config, self.dataset, self.split, self.group.place.world)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training."""

    finished: bool  # False: the time limit ended it
    best: dict[str, Any]  # the line in metrics.jsonl of the weights in model.pt
    resumed: int  # epochs that earlier jobs had finished


class Trainer:
    """Trains the model of a job; the results go to the folder of its run.

    Args:
        job: what to train, and on what.
        resume: the checkpoint to resume from; None starts a new training.

    Raises:
        TrainingError: the checkpoint can't be used, or the processes were started for different jobs.
    """

    def __init__(self, job: Job, resume: Path | None = None) -> None:
        self.job, self.config, self.group = job, job.config, job.group
        self.epochs = job.config.training.epochs
        _check_same_job(job)
        self.state = State.start(job.model, self.config.training, self.epochs * job.steps, self.group)
        self.stopping = Stopping(self.group, job.deadline)
        self._restore(resume)

    def train(self) -> Outcome:
        """Train to the last epoch, or until the time is up.

        Raises:
            StoppedError: a signal came; a checkpoint was saved.
            TrainingError: a loss is not finite, or memory or disk space ran out.
        """
        resumed, in_time = self.state.epoch, True
        with self.stopping:
            while in_time and self.state.epoch < self.epochs:
                in_time = self.train_one_epoch()
                evaluation = self.evaluate() if self._evaluation_is_due else None
                self.finish_epoch(evaluation)
                self.save_checkpoint()
        if self.state.epoch < self.epochs:
            self.job.log.note(f"training.max_hours has passed: stopped {self._position}; {self._how_to_resume}")
        best = self.group.broadcast(self.state.best)  # only the first process evaluates
        return Outcome(self.state.epoch == self.epochs, best or {}, resumed)

    def train_one_epoch(self) -> bool:
        """Train to the end of the current epoch; return False if the time is up before."""
        state, section = self.state, self.config.training
        state.parallel.train()
        losses, began = DeferredLosses(), time.monotonic() - state.sums.seconds
        title = f"epoch {state.epoch + 1} of {self.epochs}"
        with (
            contextlib.closing(self.job.training.epoch(state.epoch, state.step * section.accumulate)) as batches,
            self.job.log.progress(title, self.job.steps, "steps") as advance,
            inference.memory_errors("training.batch_size", section.batch_size),
        ):
            advance(state.step)
            while state.step < self.job.steps:
                losses.put(*self.train_step(batches))
                state.step += 1
                advance(1)
                events = self.stopping.poll()
                pauses = bool(events) or state.step == self.job.steps
                self._add_losses(losses.read(keep=0 if pauses else 1))
                state.sums.seconds = time.monotonic() - began
                if pauses:
                    self.stopping.poll()  # raises, so that weights that are not finite are never evaluated or saved
                if events.stop_requested:
                    self.stop()
                if events.checkpoint_due:
                    self.save_checkpoint()
                if events.out_of_time:
                    return False
        return True

    def train_step(self, batches: Iterator[Batch]) -> tuple[int, list[int], dict[str, Tensor], Tensor]:
        """Take a step; return its number, its images, its losses and the norm of its gradient, both on the device."""
        state, section = self.state, self.config.training
        first = state.step * section.accumulate
        count = min(section.accumulate, self.job.training.batches - first)
        indices: list[int] = []
        total: dict[str, Tensor] = {}
        for number in range(first, first + count):
            batch = _next(batches, state.sums)
            torch.manual_seed(_seed(self.config.seed, state.epoch, number, self.group.place.rank))
            with gradient_sync(state.parallel, enabled=number == first + count - 1):
                with inference.autocast(self.config, self.group.device):
                    losses = state.parallel(batch.images, batch.targets)
                state.scaler.scale(sum(losses.values()) / count).backward()
            indices += batch.indices
            total = {name: loss.detach() / count + total.get(name, 0) for name, loss in losses.items()}
        return state.step + 1, indices, total, self._update_weights()

    def evaluate(self) -> Evaluation | None:
        """Evaluate the model on the validation images; only the first process gets the result."""
        job, model = self.job, self.state.evaluated_model
        self.group.broadcast_buffers(model)
        return inference.evaluate(
            model,
            job.validation,
            job.evaluator(),
            self.config,
            group=self.group,
            log=job.log,
            between=self._stop_if_requested,
        )

    def finish_epoch(self, evaluation: Evaluation | None) -> None:
        """Log how the epoch went, keep its weights if they are the best, and begin the next one.

        An epoch that the time limit cut short is logged and evaluated too; the resumed training continues in it.
        """
        state, sums = self.state, self.group.gather(self.state.sums)
        row = {
            "epoch": state.epoch + 1,
            "step": state.epoch * self.job.steps + state.step,
            **summary(sums),
            "learning_rate": state.schedule.get_last_lr()[0],
            "evaluation": evaluation.brief() if evaluation else None,
        }
        if self.group.is_first:
            self.job.log.note(_sentence(row, self.epochs))
            if evaluation:
                self._keep_best(row, evaluation)
            self.job.run.append_json(METRICS, row)
        if state.step == self.job.steps:
            state.rows.append(row)
            state.epoch, state.step, state.sums = state.epoch + 1, 0, Sums()

    def save_checkpoint(self) -> None:
        """Save everything that the training resumes from."""
        sums = self.group.gather(self.state.sums)
        if self.group.is_first:
            checkpoint.save_checkpoint(self.job.run, self.job.facts, self.state.state_dict(sums))
        self.stopping.saved_at = time.monotonic()

    def stop(self) -> None:
        """Save a checkpoint and raise `StoppedError`."""
        self.save_checkpoint()
        state = self.state
        raise StoppedError(
            f"stopped in epoch {state.epoch + 1} of {self.epochs}, after step {state.step} of {self.job.steps}",
            fix=self._how_to_resume,
        )

    def _restore(self, resume: Path | None) -> None:
        """Load a checkpoint, and make the folder of the run agree with it.

        Only the first process reads and writes files: other nodes may have their own folders.
        """
        first = self.group.is_first
        content = self.group.broadcast(checkpoint.load_checkpoint(resume, self.job.facts) if first and resume else None)
        if content:
            self.state.load_state_dict(content, self.group.place.rank)
            at = self._position if self.state.epoch < self.epochs else "at the end"
            self.job.log.note(f"resuming from {resume}: {at}")
        if first:
            self._prepare_folder(resume)

    def _prepare_folder(self, resume: Path | None) -> None:
        state, run = self.state, self.job.run
        if resume is None:  # the checkpoint of an earlier training must go, or `auto` would resume from it
            run.remove(CHECKPOINT)
        elif not self._has_best_model():
            if state.epoch == self.epochs:
                fix = "it is in the folder where it was trained; to train again, set resume to never"
                raise TrainingError("this training is finished, and its model is not here", where=resume, fix=fix)
            state.best = None  # that model is in another folder: this one gets the best from now on
        with run.write(METRICS) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in state.rows)

    def _has_best_model(self) -> bool:
        """Whether the folder has the best model so far with its evaluation, and not those of another training."""
        model, evaluation = self.job.run.path(MODEL), self.job.run.path(EVALUATION)
        return model.is_file() and evaluation.is_file() and hash_file(model) == self.state.model_hash

    def _update_weights(self) -> Tensor:
        """Take the optimizer's step; return the norm of the gradient as `clip_gradient` does."""
        state = self.state
        norm = clip_gradient(state.optimizer, state.scaler, self.config.training.clip_norm, self.group.device)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.schedule.step()
        state.optimizer.zero_grad()
        if state.average is not None:
            state.average.update_parameters(state.model)
        return norm

    def _add_losses(self, steps: list[StepLosses]) -> None:
        """Add losses to those of the epoch; the first one that is not finite is a failure."""
        for step in steps:
            if not step.is_finite:
                names = self.job.coco.file_names
                self.stopping.failure = TrainingError(
                    f"the loss is not finite in epoch {self.state.epoch + 1}, step {step.step}",
                    found=step.not_finite(),
                    details=tuple(f"image {names[index]}" for index in step.indices),
                )
                return
            self.state.sums.add(step)

    @property
    def _evaluation_is_due(self) -> bool:
        number = self.state.epoch + 1
        cut_short = self.state.step < self.job.steps
        return number % self.config.evaluation.every == 0 or number == self.epochs or cut_short

    def _keep_best(self, row: dict[str, Any], evaluation: Evaluation) -> None:
        """Write `model.pt` and its evaluation, unless an earlier epoch was better.

        The best by mAP, not the last: on a small dataset a detector can get worse again. Of equals the later one.
        """
        if self.state.best is not None and _map(row) < _map(self.state.best):
            return
        job, self.state.best = self.job, row
        tensors = self.state.evaluated_model.state_dict()
        self.state.model_hash = checkpoint.save_model(job.run, tensors, self.config, job.coco, job.dataset)
        job.run.write_json(EVALUATION, evaluation.to_json())

    def _stop_if_requested(self) -> None:
        if self.stopping.poll().stop_requested:
            self.stop()

    @property
    def _position(self) -> str:
        return f"in epoch {self.state.epoch + 1} of {self.epochs}, step {self.state.step} of {self.job.steps}"

    @property
    def _how_to_resume(self) -> str:
        return f"the same job {'' if self.config.resume == 'auto' else 'with resume: auto '}resumes from there"


def _check_same_job(job: Job) -> None:
    """Raise `TrainingError` unless all processes, possibly on several nodes, were started for the same job."""
    for rank, facts in enumerate(job.group.gather(job.facts)):
        if facts != job.facts:
            fix = "give all nodes the same configuration and the same data"
            raise TrainingError(f"process {rank} has a different job from process {job.group.place.rank}", fix=fix)


def _next(batches: Iterator[Batch], sums: Sums) -> Batch:
    began = time.monotonic()
    batch = next(batches)
    sums.input_wait_s += time.monotonic() - began
    sums.images += len(batch.indices)
    return batch


def _seed(*numbers: int) -> int:
    """Mix some numbers into a seed: other numbers, another seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _sentence(row: dict[str, Any], epochs: int) -> str:
    scores = row["evaluation"] or {}
    shown = "".join(f"{name} {scores[name]:.3f}, " for name in ("mAP", "mAP50") if scores.get(name) is not None)
    speed = f"{row['images_per_second']:.3g} images/s, {row['seconds']:.0f} s"
    return f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4g}, {shown}{speed}"


def _map(row: dict[str, Any]) -> float:
    found = row["evaluation"]["mAP"]
    return -1.0 if found is None else float(found)
