"""The processes of one training on one node, and the cores and the memory that they have. Without torch.

`torchrun` starts them and tells each its place by environment variables; started by hand there is one process. The
first of a node checks the data for all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP = Path("/sys/fs/cgroup")  # of this container: what it may use

_POLL = 0.2  # seconds between two looks

_SPINS = "1000"  # rounds of a thread of GNU OpenMP that waits, before it sleeps; by default 300,000
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST_KEPT = 64 << 20  # bytes: an image of 20 megapixels
_KEPT = 256 << 20  # bytes that were freed and may be kept for the next image


@dataclass(frozen=True)
class Place:
    """A process among those of a training."""

    rank: int = 0
    world: int = 1  # processes in all
    local_rank: int = 0  # on this node
    local_world: int = 1  # processes on this node

    @classmethod
    def of_environment(cls) -> Place:
        """Return the place that `torchrun` gave this process."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ.get(name, default)) for name, default in zip(names, "0101", strict=True)))

    @property
    def is_first(self) -> bool:
        """Say whether this is the one process that writes and talks."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Say whether this is the one process of its node that checks the data."""
        return self.local_rank == 0


def cores(cgroup: Path = CGROUP) -> int:
    """Return how many cores this process may keep busy: of those that it may run on, what a container's limit leaves.

    A limit such as ``podman run --cpus 4`` hides no core: with a thread for each core of the machine, the few that may
    run wait for those that may not.
    """
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), _limit(cgroup))))


def _limit(cgroup: Path) -> float:
    """Return the limit of control groups, version 2 or 1, in cores; infinity where there is none."""
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            return int(quota) / int(period) if quota not in {"max", "-1"} else math.inf
    return math.inf


def tune_process() -> None:
    """Let this process use the cores and the memory of a node well; to be called before torch is imported.

    torch takes the cores that there are, and none of its threads spins for long while it waits: that would keep a core
    from whatever else could run on it, also from the thread that it waits for. OpenMP reads this from the environment
    when it is loaded; what is set there already stays.

    Memory that was freed serves again at once. By default glibc gives that of an image back, and gets it anew page by
    page for the next one, which takes a third as long as decoding it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    with contextlib.suppress(AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


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
