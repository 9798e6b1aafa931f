"""A detector that is trained: compiled steps, and all that a training needs to resume."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
import tensorflow as tf

from trainers.errors import TrainingError
from trainers.keras import checkpoint
from trainers.keras.detector import IMAGES, KerasDetector, cached_anchors, compiled, memory_errors, run_replicas
from trainers.keras.losses import detection_losses
from trainers.keras.model import normalized, tensors
from trainers.keras.optim import GradientUpdate
from trainers.training.checkpoint import FIX
from trainers.training.losses import StepLosses
from trainers.training.schedule import factor, highest_rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.config import Config
    from trainers.keras.batches import Batch, Part
    from trainers.keras.devices import Devices
    from trainers.run.folder import Run
    from trainers.training.learner import Step

LOSSES = ("classification", "bbox_regression")

_TARGETS = (
    tf.TensorSpec((None, None, 4), tf.float32),  # boxes
    tf.TensorSpec((None, None), tf.int32),  # labels
    tf.TensorSpec((None,), tf.int32),  # how many of them
)


class KerasLearner(KerasDetector):
    """A model with its optimizer, on the devices of this process.

    Two functions are compiled, whatever the sizes of images and steps: one adds the gradient of a batch to those of the
    step, one updates the weights. They must be made within the scope of the devices' strategy.

    Args:
        model: the detector that is trained.
        average: a copy of it for the moving average of the weights, if there is one.
        config: the configuration.
        devices: where it is trained.
    """

    def __init__(self, model: Any, average: Any | None, config: Config, devices: Devices) -> None:
        super().__init__(model if average is None else average, config, devices)
        self._trained, self._average, self._section = model, average, config.training
        self._steps = 0  # of the whole training
        self._taken = 0
        self._waiting: deque[tuple[int, list[int], Any]] = deque()

    @property
    def replicas(self) -> int:
        """The copies of the model; each gets a batch of its own."""
        return self.devices.replicas

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return highest_rate(self._section, self.replicas) * factor(self._taken, self._steps, self._section)

    def start(self, steps: int) -> None:
        """Make the optimizer for a training of ``steps`` steps."""
        self._steps = steps
        variables = self._trained.trainable_variables
        scaled = self.devices.policy(self._section) == "mixed_float16"
        with self.devices.strategy.scope():
            self._update = GradientUpdate(variables, self._section, scaled=scaled)
            self._sums = [_sum_variable(variable.shape) for variable in variables]
            self._losses = _sum_variable((len(LOSSES),))
        share = tf.TensorSpec((), tf.float32)
        signature = [[(*IMAGES, *_TARGETS)] * self.replicas, share]
        self._add_batch = compiled(self._add, signature)
        self._take_step = compiled(self._apply, [])

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Turn a lack of memory into an error that says which batch size to try."""
        with memory_errors("training.batch_size", self._section.batch_size):
            yield

    def train_step(self, step: Step, batches: Iterator[Batch]) -> None:
        """Take a step; nothing in it is random but the batches."""
        indices: list[int] = []
        self._update.optimizer.learning_rate = self.learning_rate
        for _ in range(step.count):
            batch = next(batches)
            indices += batch.indices
            self._add_batch([_inputs(part) for part in batch.parts], 1 / step.count)
        self._waiting.append((step.number, indices, self._take_step()))
        self._taken += 1

    def read_losses(self, *, keep: int) -> list[StepLosses]:
        """Return the losses of all steps but the last ``keep``, so that nothing waits for a GPU."""
        done = []
        while len(self._waiting) > keep:
            number, indices, values = self._waiting.popleft()
            *losses, norm = values.numpy().tolist()
            done.append(StepLosses(number, tuple(indices), dict(zip(LOSSES, losses, strict=True)), norm))
        return done

    def _add(self, parts: list[tuple[Any, ...]], share: Any) -> None:
        """Add a share of the gradient and of the losses of some batches, one for each copy of the model."""
        run_replicas(self.devices.strategy, self._add_part, [(*part, share) for part in parts])

    def _add_part(
        self, images: Any, sizes: Any, anchors: Any, boxes: Any, labels: Any, counts: Any, share: Any
    ) -> tuple[()]:
        share /= self.replicas  # the sum over the copies is a mean
        variables = [variable.value for variable in self._update.variables]
        with tf.GradientTape() as tape:
            outputs = self._trained(normalized(images, sizes), training=True)
            losses = detection_losses(outputs, anchors, boxes, labels, counts)
            total = tf.add_n(list(losses.values())) * share * self._update.scale
        for kept, gradient in zip(self._sums, tape.gradient(total, variables), strict=True):
            kept.assign_add(gradient)
        self._losses.assign_add(tf.stack([losses[name] for name in LOSSES]) * share)
        return ()

    def _apply(self) -> Any:
        """Take a step along the sums; return the losses and the norm of the gradient."""
        # reading the sums of several copies gives their sum
        norm = self._update.apply([kept.read_value() for kept in self._sums])
        result = tf.concat([self._losses.read_value(), norm[None]], 0)
        for kept in (*self._sums, self._losses):
            kept.assign(tf.zeros(kept.shape))
        if self._average is not None:
            for mean, now in zip(self._average.variables, self._trained.variables, strict=True):
                mean.assign(mean * self._section.ema + now * (1 - self._section.ema))
        return result

    def serialized(self, metadata: dict[str, str]) -> bytes:
        """Return the model that `detect` uses as the content of a safetensors file."""
        return safetensors.numpy.save(_arrays(tensors(self._model)), metadata)

    def save_checkpoint(self, run: Run, head: Mapping[str, Any]) -> None:
        """Write `checkpoint.safetensors`."""
        checkpoint.save(run, head, _arrays(self._state), self._taken)

    def read_checkpoint(self, path: Path) -> dict[str, Any]:
        """Read a `checkpoint.safetensors`."""
        return checkpoint.read(path)

    def restore(self, state: Any) -> None:
        """Restore the weights, the optimizer and the number of steps."""
        own, arrays = self._state, state["arrays"]
        if differing := sorted(
            name for name in own.keys() | arrays.keys() if name not in own or not _fits(own[name], arrays.get(name))
        ):
            raise TrainingError("this checkpoint is of another version of the trainers", found=differing[0], fix=FIX)
        for name, variable in own.items():
            variable.assign(arrays[name])
        self._taken = state["taken"]

    @property
    def _state(self) -> dict[str, Any]:
        parts = {"model": tensors(self._trained), "update": self._update.state}
        if self._average is not None:
            parts["average"] = tensors(self._average)
        return {f"{part}/{name}": variable for part, content in parts.items() for name, variable in content.items()}


def _sum_variable(shape: Any) -> Any:
    """Make a variable of which each copy of the model has its own, to be added up when it is read."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def _fits(variable: Any, array: NDArray[Any] | None) -> bool:
    return array is not None and (tuple(variable.shape), variable.dtype) == (array.shape, array.dtype)


def _inputs(part: Part) -> tuple[Any, ...]:
    anchors, _ = cached_anchors(*part.images.shape[1:3])
    return part.images, part.sizes, anchors, part.boxes, part.labels, part.counts


def _arrays(variables: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(variable.numpy()) for name, variable in variables.items()}
