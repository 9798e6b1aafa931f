"""Run a torch model on batches: in which precision, and what happens when memory runs out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from trainers.pytorch import optim
from trainers.training.memory import out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import nn

    from trainers.config import Config
    from trainers.pytorch.loader import Batch

# What the CPU's allocator, CUDA, and its libraries (CUDNN_STATUS_ALLOC_FAILED, CUBLAS_...) say
_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


class TorchDetector:
    """A detector on its device, as `trainers.training.learner.Detector` has it."""

    def __init__(self, model: nn.Module, config: Config, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device

    @contextlib.contextmanager
    def detecting(self) -> Iterator[None]:
        """See `Detector`."""
        self.model.eval()
        with torch.inference_mode(), memory_errors("evaluation.batch_size", self.config.evaluation.batch_size):
            yield

    def detect(self, batch: Batch) -> list[Mapping[str, NDArray[Any]]]:
        """See `Detector`."""
        with autocast(self.config, self.device):
            outputs = self.model(batch.images)
        return [{name: found.cpu().numpy() for name, found in row.items()} for row in outputs]


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
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(key, batch_size) from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory has run out, of the GPU or of the machine: only torch's own allocator has a class for it."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _NO_MEMORY)
