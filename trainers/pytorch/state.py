"""All that changes during a training, and how it gets into a checkpoint and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from trainers.pytorch import optim
from trainers.pytorch.losses import Sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel

    from trainers.config import TrainingSection
    from trainers.pytorch.distributed import Group


@dataclass
class State:
    """A training between two steps."""

    model: nn.Module
    parallel: nn.Module  # the same model, averaging its gradients over all processes
    optimizer: Optimizer
    schedule: LRScheduler
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the current epoch
    sums: Sums = field(default_factory=Sums)  # over these steps
    rows: list[dict[str, Any]] = field(default_factory=list)  # of metrics.jsonl, one for each finished epoch
    best: dict[str, Any] | None = None  # the best row, also of an epoch that the time limit cut short
    model_hash: str = ""  # sha256 of its model.pt

    @classmethod
    def start(cls, model: nn.Module, section: TrainingSection, steps: int, group: Group) -> State:
        """Start a training of ``steps`` steps in total."""
        average = optim.make_average(model, section)  # a copy, so before the model is wrapped
        optimizer = optim.make_optimizer(model, section, section.batch_size * section.accumulate * group.place.world)
        schedule = optim.make_schedule(optimizer, section, steps)
        scaler = optim.make_scaler(optim.precision(section, group.device), group.device)
        return cls(model, group.wrap(model), optimizer, schedule, average, scaler)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated and saved: the moving average, if there is one."""
        return self.model if self.average is None else self.average.module

    def state_dict(self, sums: Sequence[Sums]) -> dict[str, Any]:
        """Return the content of a checkpoint: tensors and plain values.

        Args:
            sums: of all processes, by rank; everything else is the same in all of them.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": [asdict(part) for part in sums],
            "rows": self.rows,
            "best": self.best,
            "model_hash": self.model_hash,
        }

    def load_state_dict(self, content: Mapping[str, Any], rank: int) -> None:
        """Restore what `state_dict` returned, in the process ``rank``."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        self.scaler.load_state_dict(content["scaler"])
        self.epoch, self.step = content["epoch"], content["step"]
        self.sums = Sums(**content["sums"][rank])
        self.rows, self.best, self.model_hash = list(content["rows"]), content["best"], content["model_hash"]
