"""The processes of one training, on one node or several, as started by `torchrun`.

Gradients go over NCCL between GPUs and over gloo between CPUs. Everything else that the processes exchange goes over
gloo, so that it never waits for a GPU.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from trainers.errors import DatapackError, StoppedError, TrainingError
from trainers.process import ignore_signals
from trainers.training.group import Group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from trainers.process import Place

_REASON = "trainers/reason"  # the store's key for why a process failed; the first process reports it


@dataclass(frozen=True)
class TorchGroup(Group):
    """All processes of a training, as seen by one of them, and its device."""

    device: torch.device
    control: dist.ProcessGroup | None = None  # None: there is only this process

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model that averages its gradients over all processes."""
        if self.control is None:
            return model
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set in any process."""
        if self.control is None:
            return flags
        answers = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(answers, dist.ReduceOp.MAX, group=self.control)
        return tuple(map(bool, answers.tolist()))

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        values = [value]
        if self.control is not None:
            values *= self.place.world
            dist.all_gather_object(values, value, group=self.control)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the first process's value."""
        values = [value]
        if self.control is not None:
            dist.broadcast_object_list(values, 0, group=self.control)
        return values[0]

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copy the first process's BatchNorm statistics to all: each process has those of its own images."""
        if self.control is not None:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)


def gradient_sync(parallel: nn.Module, *, enabled: bool) -> contextlib.AbstractContextManager[None]:
    """Average the gradients of a backward pass over all processes or, if not ``enabled``, only accumulate them."""
    if enabled or not isinstance(parallel, DistributedDataParallel):
        return contextlib.nullcontext()
    accumulating: contextlib.AbstractContextManager[None] = parallel.no_sync()
    return accumulating


def choose_device(name: str, place: Place) -> torch.device:
    """Return this process's device; raise `TrainingError` if there is no such GPU, or it can't be used."""
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if place.local_rank >= count:
        raise TrainingError(
            "there is no GPU for this process" if count else "there is no GPU",
            expected=f"GPU {place.local_rank}",
            found=f"{count} GPUs",
            fix="start it with ces-gpu-run, with as many processes as GPUs, or set device to cpu",
        )
    try:
        torch.cuda.set_device(place.local_rank)
        torch.empty(1, device="cuda")  # starts CUDA on it, which needs some of its memory
    except RuntimeError as error:
        fix = "end what else uses this GPU, or ask the Safe Haven's support whether it works"
        raise TrainingError(f"can't use GPU {place.local_rank}", found=_first_line(error), fix=fix) from error
    torch.set_float32_matmul_precision("high")  # TF32 for what stays in float32, as convolutions use anyway
    return torch.device("cuda", place.local_rank)


@contextlib.contextmanager
def join_group(place: Place, device: str) -> Iterator[TorchGroup]:
    """Join the other processes, and leave them at the end.

    Raises:
        TrainingError: there is no such device; the others can't be reached; or one of them failed, with its reason.
    """
    own = choose_device(device, place)
    if place.world == 1:
        yield TorchGroup(place, own)
        return
    try:
        store, _, _ = next(rendezvous("env://", place.rank, place.world))
        backend, bound = ("nccl", own) if own.type == "cuda" else ("gloo", None)
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, device_id=bound)
        control: Any = dist.new_group(backend="gloo")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            "can't reach the other processes", expected=f"{place.world} processes", found=_first_line(error)
        ) from error
    try:
        yield TorchGroup(place, own, control)
    except Exception as error:  # the reason is shared, and the first process reports it
        ignore_signals()  # torchrun's SIGTERM follows a failure, and must not take the place of its reason
        reason = _reason(error, store, place)
        if isinstance(reason, StoppedError):
            dist.destroy_process_group()
        raise reason from error
    dist.destroy_process_group()


def _reason(error: Exception, store: Any, place: Place) -> Exception:
    """Return the error to end with: this process's own, which it shares, or the one that another process shared.

    When a process fails, `torchrun` stops the others with SIGTERM. So a stop may only follow from a failure.
    """
    stopped = isinstance(error, StoppedError)
    lost = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError) and _is_of_network(error)
    with contextlib.suppress(RuntimeError):
        if not stopped and not lost:
            why = str(error) if isinstance(error, DatapackError) else f"{type(error).__name__}: {_first_line(error)}"
            store.set(_REASON, f"process {place.rank}: {why}")
        elif store.check([_REASON]):
            return TrainingError(store.get(_REASON).decode())
    if not lost:
        return error
    return TrainingError(
        "another process of this training is gone: it was killed or ran out of memory",
        fix="start the same job again: with resume: auto it resumes from its last checkpoint",
    )


def _is_of_network(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "onnection"))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
