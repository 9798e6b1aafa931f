"""Train, evaluate, predict with TensorFlow: the shared jobs, on the devices of this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from trainers.dataset.reading import workers
from trainers.errors import ConfigError
from trainers.keras.batches import Batch, Loader
from trainers.keras.detector import KerasDetector
from trainers.keras.devices import Devices, open_devices
from trainers.keras.learner import KerasLearner
from trainers.keras.model import build_model
from trainers.keras.weights import load_initial, load_trained
from trainers.run.record import Device, version
from trainers.training import jobs
from trainers.training.augment import Augment
from trainers.training.group import Group
from trainers.training.model_file import SafetensorsFile, TrainedModel

if TYPE_CHECKING:
    from collections.abc import Callable
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
    from trainers.run.folder import Run
    from trainers.run.inputs import Start
    from trainers.training.loop import Outcome
    from trainers.training.model_file import ModelInfo


def train(config: Config, context: RunContext, run: Run, data: PreparedData, start: Start) -> Outcome:
    """Train a detector; the results go to the folder of the run.

    Raises:
        ConfigError: the configuration asks for what only PyTorch's detectors can do.
    """
    if config.training.compile:
        fix = "set it to false: TensorFlow compiles each step anyway"
        raise ConfigError("training.compile is for PyTorch's detectors", found=config.model.name, fix=fix)
    return jobs.train(_backend(config, context, data), config, context, run, data, start)


def evaluate(config: Config, context: RunContext, data: PreparedData, model: Path) -> Evaluation | None:
    """Evaluate a `model.safetensors` on the validation images.

    Raises:
        ConfigError: the model does not fit the configuration, the images or the split.
    """
    trained = jobs.read_model_to_evaluate(config, data, model)
    return jobs.evaluate(_backend(config, context, data), config, context, data, trained)


def predict(config: Config, context: RunContext, data: PreparedData, model: Path) -> Evaluator:
    """Run a `model.safetensors` on the images; the evaluator has all detections."""
    trained = jobs.read_model(config, model)
    return jobs.predict(_backend(config, context, data), context, data, trained)


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
    trained = TrainedModel(SafetensorsFile.of(model.path, model.weights), info)
    backend = _backend(config, context, data)
    return jobs.detect(backend, context, data, trained, score, between), backend.device


def _backend(config: Config, context: RunContext, data: PreparedData) -> _KerasBackend:
    return _KerasBackend(config, data, context.log, Group(context.place), open_devices(config.device, context.place))


@dataclass(frozen=True)
class _KerasBackend:
    """TensorFlow in its one process, as `trainers.training.jobs.Backend` has it."""

    config: Config
    data: PreparedData
    log: Log
    group: Group
    devices: Devices

    @property
    def device(self) -> Device:
        """See `Backend`."""
        versions = {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "keras-hub": version("keras-hub"),
            "cuda": tf.sysconfig.get_build_info().get("cuda_version"),
        }
        return Device(self.devices.name, self.devices.gpu, self.group.place.world, versions)

    def training_loader(self) -> Loader:
        """See `Backend`."""
        return Loader(
            self.data.coco,
            self.data.pixels,
            self.data.split.train,
            replicas=self.devices.replicas,
            batch_size=self.config.training.batch_size,
            workers=self._workers,
            seed=self.config.seed,
            shuffle=True,
            augment=Augment(self.config.augmentation),
        )

    def evaluation_loader(self, images: NDArray[np.int64], group: Group) -> Loader:
        """See `Backend`."""
        return Loader(
            self.data.coco,
            self.data.pixels,
            images,
            replicas=self.devices.replicas,
            batch_size=self.config.evaluation.batch_size,
            workers=self._workers,
            shuffle=False,
        )

    @property
    def _workers(self) -> int:
        return workers(self.config, self.group.place.local_world)

    def learner(self, weights: Path | None) -> tuple[KerasLearner, str | None]:
        """See `Backend`."""
        model = self._model(len(self.data.coco.categories), pretrained=weights is not None)
        digest = load_initial(model, weights, self.config.model.name, self.log) if weights else None
        average = None
        if self.config.training.ema:
            average = self._model(len(self.data.coco.categories), pretrained=True)
            for mean, now in zip(average.variables, model.variables, strict=True):
                mean.assign(now)
        return KerasLearner(model, average, self.config, self.devices), digest

    def detector(self, trained: TrainedModel) -> KerasDetector:
        """See `Backend`."""
        model = self._model(len(trained.info.categories), pretrained=True)
        load_trained(model, trained)
        return KerasDetector(model, self.config, self.devices)

    def _model(self, categories: int, *, pretrained: bool) -> Any:
        with self.devices.strategy.scope():
            policy = self.devices.policy(self.config.training)
            return build_model(self.config, categories, policy, pretrained=pretrained)


_: type[jobs.Backend[Batch]] = _KerasBackend
