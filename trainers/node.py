"""The processes of one training on one node: the first checks the data for all of them. Without torch.

`torchrun` starts them and tells each its place by environment variables; started by hand there is one process.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL = 0.2  # seconds between two looks


@dataclass(frozen=True)
class Place:
    """A process among those of a training."""

    rank: int = 0
    world: int = 1  # processes in all
    local_rank: int = 0  # on this node

    @classmethod
    def of_environment(cls) -> Place:
        """Return the place that `torchrun` gave this process."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return cls(*(int(os.environ.get(name, default)) for name, default in zip(names, "010", strict=True)))

    @property
    def is_first(self) -> bool:
        """Say whether this is the one process that writes and talks."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Say whether this is the one process of its node that checks the data."""
        return self.local_rank == 0


@contextlib.contextmanager
def announced(scratch: Path, place: Place) -> Iterator[None]:
    """Tell the other processes of this node whether what is done here, by the first, was done."""
    if place.world == 1:
        yield
        return
    outcome = _outcome(scratch)
    done = False
    try:
        yield
        done = True
    finally:
        with contextlib.suppress(OSError):
            partial = outcome.with_name(f"{outcome.name}.partial")
            partial.write_text(json.dumps(done))
            partial.replace(outcome)


def wait_for_first(scratch: Path) -> None:
    """Wait until the first process of this node is done; raise `TrainingError` where it failed or is gone."""
    outcome, parent = _outcome(scratch), os.getppid()
    while not outcome.exists():
        if os.getppid() != parent:
            raise TrainingError("the processes of this training were ended")
        time.sleep(_POLL)
    if not json.loads(outcome.read_text()):
        raise TrainingError("the first process of this node stopped: its lines say why")


def _outcome(scratch: Path) -> Path:
    """Return the file for this start of these processes: of their parent, which is `torchrun`, and its restarts."""
    started = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): starttime
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    folder = scratch if os.access(scratch, os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"ready-{os.getppid()}-{started}-{restart}.json"
