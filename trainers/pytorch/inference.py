"""Run a detector on held-out images: its detections, and how good they are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from trainers.errors import TrainingError
from trainers.pytorch import optim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from trainers.config import Config
    from trainers.evaluation.coco import Evaluator
    from trainers.evaluation.scores import Evaluation
    from trainers.log import Log
    from trainers.pytorch.distributed import Group
    from trainers.pytorch.loader import Loader


def evaluate(
    model: nn.Module,
    loader: Loader,
    evaluator: Evaluator,
    config: Config,
    *,
    group: Group,
    log: Log,
    between: Callable[[], None] = lambda: None,
) -> Evaluation | None:
    """Evaluate a model on the images of a loader, as `detect` does; only the first process gets the evaluation."""
    detect(model, loader, evaluator, config, group=group, log=log, between=between)
    return evaluator.summarize(config.report.score) if group.is_first else None


def detect(
    model: nn.Module,
    loader: Loader,
    evaluator: Evaluator,
    config: Config,
    *,
    group: Group,
    log: Log,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Run a model on the images of a loader.

    Args:
        model: a detector.
        loader: the images; each process has a part of them.
        evaluator: of all these images; afterwards the one of the first process has all detections.
        config: the precision.
        group: the processes.
        log: where progress is shown.
        between: called after each batch, equally often in all processes.
    """
    model.eval()
    rounds = max(group.gather(loader.batches))
    with (
        torch.inference_mode(),
        contextlib.closing(loader.epoch(0)) as batches,
        log.progress("running the detector", rounds, "batches") as advance,
        memory_errors("evaluation.batch_size", config.evaluation.batch_size),
    ):
        for _ in range(rounds):
            batch = next(batches, None)  # a process may have one less than another
            if batch is not None:
                with autocast(config, group.device):
                    outputs = model(batch.images)
                evaluator.add(batch.indices, [{name: found.cpu() for name, found in row.items()} for row in outputs])
            advance(1)
            between()
    states = group.gather(evaluator.state())
    if group.is_first:
        for state in states[1:]:
            evaluator.merge(state)


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """Return the context in which a detector computes with the configuration's precision."""
    dtype = optim.precision(config.training, device)
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


@contextlib.contextmanager
def memory_errors(key: str, batch_size: int) -> Iterator[None]:
    """If memory runs out, of the GPU or of the machine, raise `TrainingError` that says which batch size to try."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        fix = f"set {key} to {batch_size // 2}" if batch_size > 1 else "lower image.min_size and image.max_size"
        raise TrainingError("out of memory", found=f"{key} {batch_size}", fix=f"{fix} and start again") from error
