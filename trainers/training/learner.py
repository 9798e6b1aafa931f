"""What a framework provides for a training. The loop, the evaluation and the jobs of this package use nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.run.folder import Run
    from trainers.training.losses import StepLosses


class Batch(Protocol):
    """A few images on the device of the model, with their targets."""

    @property
    def indices(self) -> list[int]:
        """The images, as indices in the Coco."""


BatchT = TypeVar("BatchT", bound=Batch)
BatchT_co = TypeVar("BatchT_co", bound=Batch, covariant=True)
BatchT_contra = TypeVar("BatchT_contra", bound=Batch, contravariant=True)


class Loader(Protocol[BatchT_co]):
    """The batches of one process; `trainers.training.loader.ImageLoader` is one."""

    @property
    def batches(self) -> int:
        """The number of batches of an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Generator[BatchT_co, None, None]:
        """Yield the batches of an epoch from number ``start`` on; they are the same every time."""


@dataclass(frozen=True)
class Step:
    """A step of a training: one update of the weights."""

    epoch: int  # from 0
    number: int  # in the epoch, from 1
    first: int  # the number of its first batch in the epoch, from 0
    count: int  # its batches, whose gradients are averaged


class Detector(Protocol[BatchT_contra]):
    """A model that detects."""

    def detecting(self) -> AbstractContextManager[None]:
        """Return a context in which batches are loaded and `detect` is called.

        Raises:
            TrainingError: memory ran out in it: `trainers.training.memory.out_of_memory`.
        """

    def detect(self, batch: BatchT_contra) -> list[Mapping[str, NDArray[Any]]]:
        """Return the detections in each image: boxes (n, 4) x1, y1, x2, y2 in its pixels, labels (n,), scores (n,)."""


class Learner(Detector[BatchT_contra], Protocol[BatchT_contra]):
    """A model that is trained, with its optimizer, on the devices of this process."""

    @property
    def replicas(self) -> int:
        """The copies of the model that share a step, over all processes; each gets a batch of its own."""

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""

    def start(self, steps: int) -> None:
        """Prepare to train ``steps`` steps in total. It is called once, when all processes have the same job."""

    def training(self) -> AbstractContextManager[None]:
        """Return a context in which batches are loaded and `train_step` is called, for an epoch or a part of it.

        Raises:
            TrainingError: memory ran out in it: `trainers.training.memory.out_of_memory`.
        """

    def train_step(self, step: Step, batches: Iterator[BatchT_contra]) -> None:
        """Take ``step.count`` batches and a step of the optimizer, without waiting for its losses.

        All random numbers follow from the seed, the step and the rank, so that a resumed training draws the same.
        """

    def read_losses(self, *, keep: int) -> list[StepLosses]:
        """Return the losses of all steps that are not read yet, in order, but the last ``keep``."""

    def serialized(self, metadata: dict[str, str]) -> bytes:
        """Return the tensors of the model that `detect` uses as the content of a safetensors file."""

    def save_checkpoint(self, run: Run, head: Mapping[str, Any]) -> None:
        """Write the checkpoint of a run: ``head``, plain values as in JSON, and all that `restore` needs.

        Raises:
            TrainingError: there is not enough disk space.
        """

    def read_checkpoint(self, path: Path) -> Any:
        """Return the content of a file that `save_checkpoint` wrote: ``head`` and, as "state", what `restore` needs.

        The caller checks ``head``.

        Raises:
            TrainingError: the file is of another kind, or damaged.
        """

    def restore(self, state: Any) -> None:
        """Resume from the state of a checkpoint, which the first process has read and sent to all."""
