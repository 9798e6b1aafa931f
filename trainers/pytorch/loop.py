"""The training: epoch by epoch over the images, an evaluation, the best weights kept, a checkpoint; and again.

All that is random in a step follows from the seed, the epoch, the batch and the process: so a training that goes on
from a checkpoint gives the same numbers as one that was never stopped.
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
from torch.nn.parallel import DistributedDataParallel

from trainers.errors import StoppedError, TrainingError
from trainers.pytorch.checkpoint import job_facts, load_checkpoint, save, save_model
from trainers.pytorch.inference import autocast, evaluate, memory_errors
from trainers.pytorch.losses import DeferredLosses, StepLosses, Sums, summary
from trainers.pytorch.state import State
from trainers.pytorch.stopping import Ending
from trainers.run.folder import CHECKPOINT, EVALUATION, METRICS, MODEL, disk_errors, whole

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
    """What is trained, on what, by whom."""

    config: Config
    coco: Coco
    dataset: str  # digest
    split: str  # what tells this split from another
    model: nn.Module  # on its device
    training: Loader
    validation: Loader
    evaluator: Callable[[], Evaluator]  # of the validation images
    run: Run
    log: Log
    group: Group
    started: float  # when the job began, on time.monotonic's clock

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last of them may have fewer batches than `accumulate`."""
        return -(-self.training.batches // self.config.training.accumulate)

    @property
    def deadline(self) -> float:
        hours = self.config.training.max_hours
        return self.started + 3600 * hours if hours else math.inf

    @property
    def facts(self) -> dict[str, Any]:
        return job_facts(self.config, self.dataset, self.split, self.group.place.world)


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    finished: bool  # else its time was over
    best: dict[str, Any]  # the line in metrics.jsonl of the weights in model.pt
    resumed: int  # epochs that earlier jobs had done


def train(job: Job, resume: Path | None = None) -> Outcome:
    """Train to the last epoch, or until the time is over; what comes of it is in the folder of the run.

    Args:
        job: what is to be done.
        resume: the checkpoint to go on from.

    Raises:
        StoppedError: a signal came; there is a checkpoint.
        TrainingError: a loss is not finite, memory or disk is short, or the checkpoint can't be used.
    """
    state, epochs = _begin(job, resume), job.config.training.epochs
    in_time, resumed = True, state.epoch
    with Ending(job.group, job.deadline) as ending:
        while in_time and state.epoch < epochs:
            in_time = train_one_epoch(job, state, ending)
            _finish_epoch(job, state, ending)
    if state.epoch < epochs:
        at = f"epoch {state.epoch + 1} of {epochs}, step {state.step} of {job.steps}"
        job.log.note(f"training.max_hours is over: ended in {at}; {_how_to_go_on(job)}")
    best = job.group.share(state.best)  # only the first process judges
    return Outcome(state.epoch == epochs, best or {}, resumed)


def _begin(job: Job, resume: Path | None) -> State:
    """Make the state of a new training, or of the one in a checkpoint; let `metrics.jsonl` say what it knows.

    Only the first process reads and writes: other nodes may have folders of their own.
    """
    _compare(job)
    section, first = job.config.training, job.group.is_first
    state = State.start(job.model, section, section.epochs * job.steps, job.group)
    content = job.group.share(load_checkpoint(resume, job.facts) if first and resume else None)
    if content:
        state.restore(content, job.group.place.rank)
        at = f"epoch {state.epoch + 1}, step {state.step}" if state.epoch < section.epochs else "the end"
        job.log.note(f"going on from {resume}: {at}")
    if first and content and not job.run.path(MODEL).exists():
        if state.epoch == section.epochs:
            fix = "the model.pt that belongs to it is where it was trained"
            raise TrainingError("this training is finished", where=resume, fix=fix)
        state.best = None  # it is in another folder: the best from now on is kept in this one
    if first:
        if resume is None:  # one that is there is of an earlier training, and `auto` would take it
            with disk_errors(job.run.path(CHECKPOINT)):
                job.run.path(CHECKPOINT).unlink(missing_ok=True)
        with whole(job.run.path(METRICS)) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in state.rows)
    return state


def _compare(job: Job) -> None:
    """Raise `TrainingError` where not all processes, which may be on other nodes, were started for the same job."""
    for rank, facts in enumerate(job.group.gather(job.facts)):
        if facts != job.facts:
            fix = "give all nodes the same configuration and the same data"
            raise TrainingError(f"process {rank} has another job than process {job.group.place.rank}", fix=fix)


def train_one_epoch(job: Job, state: State, ending: Ending) -> bool:
    """Train to the end of the epoch that ``state`` is in; return False where the time was over before."""
    state.parallel.train()
    late, began = DeferredLosses(), time.monotonic() - state.sums.seconds
    title = f"epoch {state.epoch + 1} of {job.config.training.epochs}"
    start = state.step * job.config.training.accumulate
    with (
        contextlib.closing(job.training.epoch(state.epoch, start)) as batches,
        job.log.progress(title, job.steps, "steps") as advance,
        memory_errors("training.batch_size", job.config.training.batch_size),
    ):
        advance(state.step)
        while state.step < job.steps:
            late.put(*_train_step(job, state, batches))
            state.step += 1
            advance(1)
            look = ending.look()
            settled = look.asked_to_stop or look.out_of_time or look.checkpoint_due or state.step == job.steps
            ending.failure = _take(job, state, late.read(keep=0 if settled else 1))
            state.sums.seconds = time.monotonic() - began
            if settled:
                ending.look()  # nothing that is not finite is evaluated or gets into a checkpoint
            if look.asked_to_stop:
                _stop(job, state, ending)
            if look.checkpoint_due:
                _keep(job, state, ending)
            if look.out_of_time:
                return False
    return True


def _train_step(job: Job, state: State, batches: Iterator[Batch]) -> tuple[int, list[int], dict[str, Tensor], Tensor]:
    """Take a step; return its number, its images, its losses and the norm of its gradient, still on the device."""
    section, device = job.config.training, job.group.device
    first = state.step * section.accumulate
    count = min(section.accumulate, job.training.batches - first)
    indices: list[int] = []
    total: dict[str, Tensor] = {}
    for number in range(first, first + count):
        batch = _next(batches, state.sums)
        torch.manual_seed(_seed(job.config.seed, state.epoch, number, job.group.place.rank))
        with _gradients(state.parallel, shared=number == first + count - 1):
            with autocast(job.config, device):
                losses = state.parallel(batch.images, batch.targets)
            state.scaler.scale(sum(losses.values()) / count).backward()
        indices += batch.indices
        total = {name: loss.detach() / count + total.get(name, 0) for name, loss in losses.items()}
    norm = _clip(state, section.clip_norm, device)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    state.optimizer.zero_grad()
    if state.average is not None:
        state.average.update_parameters(state.model)
    return state.step + 1, indices, total, norm


def _next(batches: Iterator[Batch], sums: Sums) -> Batch:
    began = time.monotonic()
    batch = next(batches)
    sums.input_wait_s += time.monotonic() - began
    sums.images += len(batch.indices)
    return batch


def _seed(*numbers: int) -> int:
    """Mix some numbers into a seed: other numbers, another seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _gradients(parallel: nn.Module, *, shared: bool) -> contextlib.AbstractContextManager[None]:
    """Share the gradients with the other processes, or only add them up here."""
    if shared or not isinstance(parallel, DistributedDataParallel):
        return contextlib.nullcontext()
    waiting: contextlib.AbstractContextManager[None] = parallel.no_sync()
    return waiting


def _clip(state: State, clip_norm: float, device: torch.device) -> Tensor:
    """Clip the gradient; return its norm, 0 where it is not known or where the scaler sees to it."""
    if not clip_norm:
        return torch.zeros((), device=device)
    state.scaler.unscale_(state.optimizer)
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    return torch.zeros_like(norm) if state.scaler.is_enabled() else norm


def _take(job: Job, state: State, steps: list[StepLosses]) -> TrainingError | None:
    """Add losses to the epoch's; return the error that the first of them is, if it is not finite."""
    for step in steps:
        if not step.is_finite:
            values = {**step.losses, "norm of the gradient": step.norm}
            found = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
            return TrainingError(
                f"not a finite loss in epoch {state.epoch + 1}, step {step.step}",
                found=found or "a sum that is too large",
                details=tuple(f"image {job.coco.file_names[index]}" for index in step.indices),
            )
        state.sums.add(step)
    return None


def _finish_epoch(job: Job, state: State, ending: Ending) -> None:
    """Evaluate, say and write how it went, keep the weights if they are the best, write a checkpoint.

    An epoch that the time cut short is evaluated too; the training goes on in it.
    """
    number, is_whole = state.epoch + 1, state.step == job.steps
    is_due = number % job.config.evaluation.every == 0 or number == job.config.training.epochs or not is_whole
    evaluation = _evaluate(job, state, ending) if is_due else None
    sums = job.group.gather(state.sums)
    row = {
        "epoch": number,
        "step": state.epoch * job.steps + state.step,
        **summary(sums),
        "learning_rate": state.schedule.get_last_lr()[0],
        "evaluation": evaluation.brief() if evaluation else None,
    }
    if job.group.is_first:
        job.log.note(_sentence(row, job.config.training.epochs))
        if evaluation:
            _keep_best(job, state, row, evaluation)
        job.run.append_json(METRICS, row)
    if is_whole:
        state.rows.append(row)
        state.epoch, state.step, state.sums = number, 0, Sums()
    _keep(job, state, ending)


def _evaluate(job: Job, state: State, ending: Ending) -> Evaluation | None:
    def between() -> None:
        if ending.look().asked_to_stop:
            _stop(job, state, ending)

    job.group.share_buffers(state.judged)
    return evaluate(
        state.judged, job.validation, job.evaluator(), job.config, group=job.group, log=job.log, between=between
    )


def _sentence(row: dict[str, Any], epochs: int) -> str:
    scores = row["evaluation"] or {}
    judged = "".join(f"{name} {scores[name]:.3f}, " for name in ("mAP", "mAP50") if scores.get(name) is not None)
    speed = f"{row['images_per_second']:.3g} images a second, {row['seconds']:.0f} s"
    return f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4g}, {judged}{speed}"


def _keep_best(job: Job, state: State, row: dict[str, Any], evaluation: Evaluation) -> None:
    """Write `model.pt` and how good it is, unless an earlier epoch's was better.

    The best by mAP, not the last: on a small dataset a detector can get worse again. Equals: the later one.
    """
    if state.best is not None and _mean_precision(row) < _mean_precision(state.best):
        return
    state.best = row
    save_model(job.run, state.judged.state_dict(), job.config, job.coco, job.dataset)
    job.run.write_json(EVALUATION, evaluation.to_json())


def _mean_precision(row: dict[str, Any]) -> float:
    found = row["evaluation"]["mAP"]
    return -1.0 if found is None else float(found)


def _keep(job: Job, state: State, ending: Ending) -> None:
    """Write a checkpoint."""
    sums = job.group.gather(state.sums)
    if job.group.is_first:
        save(job.run, job.facts, state.content(sums))
    ending.kept_at = time.monotonic()


def _stop(job: Job, state: State, ending: Ending) -> None:
    _keep(job, state, ending)
    raise StoppedError(
        f"stopped in epoch {state.epoch + 1} of {job.config.training.epochs}, after step {state.step} of {job.steps}",
        fix=_how_to_go_on(job),
    )


def _how_to_go_on(job: Job) -> str:
    """Say how the training goes on from the checkpoint that it leaves."""
    return f"the same job {'' if job.config.resume == 'auto' else 'with resume: auto '}goes on from there"
