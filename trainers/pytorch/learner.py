"""A torch model that is trained, with all that changes during a training."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from trainers.pytorch import checkpoint, optim
from trainers.pytorch.distributed import gradient_sync
from trainers.pytorch.inference import TorchDetector, autocast, memory_errors
from trainers.pytorch.losses import DeferredLosses
from trainers.training.plan import seed_of
from trainers.training.schedule import highest_rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel

    from trainers.config import Config
    from trainers.pytorch.distributed import TorchGroup
    from trainers.pytorch.loader import Batch
    from trainers.run.folder import Run
    from trainers.training.learner import Step
    from trainers.training.losses import StepLosses


class TorchLearner:
    """A model in training, as `trainers.training.learner.Learner` has it.

    Args:
        model: the detector, on its device.
        config: how it is trained.
        group: the processes that train it together.
    """

    parallel: nn.Module  # the same model, averaging its gradients over all processes
    optimizer: Optimizer
    schedule: LRScheduler
    average: AveragedModel | None
    scaler: torch.amp.GradScaler

    def __init__(self, model: nn.Module, config: Config, group: TorchGroup) -> None:
        self.model, self.config, self.group = model, config, group
        self._losses = DeferredLosses()

    @property
    def replicas(self) -> int:
        """The processes: each has one copy of the model."""
        return self.group.place.world

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated and saved: the moving average, if there is one."""
        return self.model if self.average is None else self.average.module

    def start(self, steps: int) -> None:
        """Prepare to train ``steps`` steps in total."""
        section, device = self.config.training, self.group.device
        self.average = optim.make_average(self.model, section)  # a copy, so before the model is wrapped
        self.optimizer = optim.make_optimizer(self.model, section, highest_rate(section, self.replicas))
        self.schedule = optim.make_schedule(self.optimizer, section, steps)
        self.scaler = optim.make_scaler(optim.precision(section, device), device)
        self.parallel = self.group.wrap(self.model)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """See `Learner`."""
        self.parallel.train()
        with memory_errors("training.batch_size", self.config.training.batch_size):
            yield

    def train_step(self, step: Step, batches: Iterator[Batch]) -> None:
        """See `Learner`; the losses are read while the next step runs."""
        indices: list[int] = []
        total: dict[str, Tensor] = {}
        last = step.first + step.count - 1
        for number in range(step.first, last + 1):
            batch = next(batches)
            torch.manual_seed(seed_of(self.config.seed, step.epoch, number, self.group.place.rank))
            with gradient_sync(self.parallel, enabled=number == last):
                with autocast(self.config, self.group.device):
                    losses = self.parallel(batch.images, batch.targets)
                self.scaler.scale(sum(losses.values()) / step.count).backward()
            indices += batch.indices
            total = {name: loss.detach() / step.count + total.get(name, 0) for name, loss in losses.items()}
        self._losses.put(step.number, indices, total, self._update_weights())

    def _update_weights(self) -> Tensor:
        """Take the optimizer's step; return the norm of the gradient as `clip_gradient` does."""
        norm = optim.clip_gradient(self.optimizer, self.scaler, self.config.training.clip_norm, self.group.device)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return norm

    def read_losses(self, *, keep: int) -> list[StepLosses]:
        """Return the losses of all steps but the last ``keep``."""
        return self._losses.read(keep=keep)

    @contextlib.contextmanager
    def detecting(self) -> Iterator[None]:
        """See `Detector`; all processes have the BatchNorm statistics of the first one."""
        self.group.broadcast_buffers(self.evaluated_model)
        with self._detector.detecting():
            yield

    def detect(self, batch: Batch) -> list[Mapping[str, NDArray[Any]]]:
        """See `Detector`."""
        return self._detector.detect(batch)

    @property
    def _detector(self) -> TorchDetector:
        return TorchDetector(self.evaluated_model, self.config, self.group.device)

    def serialized(self, metadata: dict[str, str]) -> bytes:
        """Return the evaluated model as the content of a safetensors file."""
        tensors = self.evaluated_model.state_dict()
        return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata)

    def save_checkpoint(self, run: Run, head: Mapping[str, Any]) -> None:
        """Write `checkpoint.pt`."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.save_checkpoint(run, head, state)

    def read_checkpoint(self, path: Path) -> Any:
        """Return the content of a `checkpoint.pt`."""
        return checkpoint.read_checkpoint(path)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from the state of a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.scaler.load_state_dict(state["scaler"])
