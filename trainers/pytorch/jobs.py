"""Train, evaluate, predict with PyTorch: the shared jobs, on this process's device."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trainers.dataset.reading import workers
from trainers.pytorch.distributed import join_group
from trainers.pytorch.inference import TorchDetector
from trainers.pytorch.learner import TorchLearner
from trainers.pytorch.loader import Batch, Loader
from trainers.pytorch.model import new_model, trained_model
from trainers.pytorch.weights import as_safetensors, read
from trainers.run.record import Device, version
from trainers.training import jobs
from trainers.training.augment import Augment
from trainers.training.model_file import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.model_bag import VerifiedModel
    from trainers.dataset.prepare import PreparedData
    from trainers.evaluation.coco import Evaluator
    from trainers.evaluation.scores import Evaluation
    from trainers.log import Log
    from trainers.pytorch.distributed import TorchGroup
    from trainers.run.folder import Run
    from trainers.run.inputs import Start
    from trainers.training.group import Group
    from trainers.training.loop import Outcome
    from trainers.training.model_file import ModelInfo


def train(config: Config, context: RunContext, run: Run, data: PreparedData, start: Start) -> Outcome:
    """Train a detector; the results go to the folder of the run."""
    with _joined(config, context, data) as backend:
        return jobs.train(backend, config, context, run, data, start)


def evaluate(config: Config, context: RunContext, data: PreparedData, model: Path) -> Evaluation | None:
    """Evaluate a `model.safetensors` on the validation images; only the first process gets the evaluation.

    Raises:
        ConfigError: the model does not fit the configuration, the images or the split.
    """
    trained = jobs.read_model_to_evaluate(config, data, model)
    with _joined(config, context, data) as backend:
        return jobs.evaluate(backend, config, context, data, trained)


def predict(config: Config, context: RunContext, data: PreparedData, model: Path) -> Evaluator:
    """Run a `model.safetensors` on the images; in the first process the evaluator has all detections."""
    trained = jobs.read_model(config, model)
    with _joined(config, context, data) as backend:
        return jobs.predict(backend, context, data, trained)


def detect(
    config: Config,
    context: RunContext,
    data: PreparedData,
    model: VerifiedModel,
    info: ModelInfo,
    score: float,
    between: Callable[[int], None],
) -> tuple[Evaluator, Device]:
    """Run a verified model on images without boxes, as `trainers.training.jobs.detect`; return the device too.

    Raises:
        ConfigError: the weights are damaged, or do not fit the model.
    """
    trained = TrainedModel(as_safetensors(model.path, model.weights), info)
    with _joined(config, context, data) as backend:
        return jobs.detect(backend, context, data, trained, score, between), backend.device


@contextlib.contextmanager
def _joined(config: Config, context: RunContext, data: PreparedData) -> Iterator[_TorchBackend]:
    with join_group(context.place, config.device) as group:
        yield _TorchBackend(config, data, context.log, group)


@dataclass(frozen=True)
class _TorchBackend:
    """PyTorch in one process, as `trainers.training.jobs.Backend` has it."""

    config: Config
    data: PreparedData
    log: Log
    group: TorchGroup

    @property
    def device(self) -> Device:
        """See `Backend`."""
        device = self.group.device
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
        versions = {"torch": torch.__version__, "torchvision": version("torchvision"), "cuda": torch.version.cuda}
        return Device(str(device), gpu, self.group.place.world, versions)

    def training_loader(self) -> Loader:
        """See `Backend`."""
        return Loader(
            self.data.coco,
            self.data.pixels,
            self.data.split.train,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            shuffle=True,
            augment=Augment(self.config.augmentation),
            device=self.group.device,
            workers=self._workers,
            rank=self.group.place.rank,
            world=self.group.place.world,
        )

    def evaluation_loader(self, images: NDArray[np.int64], group: Group) -> Loader:
        """See `Backend`."""
        return Loader(
            self.data.coco,
            self.data.pixels,
            images,
            batch_size=self.config.evaluation.batch_size,
            shuffle=False,
            device=self.group.device,
            workers=self._workers,
            rank=group.place.rank,
            world=group.place.world,
        )

    @property
    def _workers(self) -> int:
        return workers(self.config, self.group.place.local_world)

    def learner(self, weights: Path | None) -> tuple[TorchLearner, str | None]:
        """See `Backend`."""
        found = read(weights, self.config.model.name) if weights else None
        model = new_model(self.config, len(self.data.coco.categories) + 1, found, self.group.device, self.log)
        return TorchLearner(model, self.config, self.group), found.digest if found else None

    def detector(self, trained: TrainedModel) -> TorchDetector:
        """See `Backend`."""
        return TorchDetector(trained_model(self.config, trained, self.group.device), self.config, self.group.device)


_: type[jobs.Backend[Batch]] = _TorchBackend
