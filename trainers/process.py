"""The processes of a training on one node, and their cores and memory. No torch.

`torchrun` starts them and passes each its place in environment variables; without it there is one process. The first
process of a node checks the data for all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import signal
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.executor import raise_unless_held
from datapack.files import atomic_writer, read_limited
from datapack.jsonfile import parse_json
from trainers.errors import ConfigError, StoppedError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP = Path("/sys/fs/cgroup")  # the limits of this container

_UNSET = "unset what sets it, or let torchrun set all four"
_DIGITS = 9  # of a number in the environment
_SHOWN = 40  # characters of it in an error
_POLL = 0.2  # seconds
_LONGEST = 100  # bytes of what the first process tells the others

_SPINS = "1000"  # spins of a waiting GNU OpenMP thread before it sleeps; the default is 300,000
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST_KEPT = 64 << 20  # bytes: an image of 20 megapixels
_KEPT = 256 << 20  # bytes of freed memory that may be kept for the next image


@dataclass(frozen=True)
class Place:
    """The place of a process among those of a training."""

    rank: int = 0
    world: int = 1  # number of processes
    local_rank: int = 0  # on this node
    local_world: int = 1  # processes on this node

    @classmethod
    def of_environment(cls) -> Place:
        """Return the place that `torchrun` has given this process; raise `ConfigError` if there is no such place."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        place = cls(*(_number_in(name, default) for name, default in zip(names, "0101", strict=True)))
        if not (place.local_rank <= place.rank < place.world and place.local_rank < place.local_world <= place.world):
            found = ", ".join(f"{name} {number}" for name, number in zip(names, astuple(place), strict=True))
            raise ConfigError("there is no such process in a training", found=found, fix=_UNSET)
        return place

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes files and logs."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Whether this is the one process of its node that checks the data."""
        return self.local_rank == 0


def _number_in(variable: str, default: str) -> int:
    text = os.environ.get(variable, default)
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ConfigError("not a number", where=f"${variable}", found=repr(text[:_SHOWN]), fix=_UNSET)
    return int(text)


_signals: list[int] = []  # SIGTERM and Ctrl-C, as they came


def watch_signals() -> None:
    """Make SIGTERM and Ctrl-C raise an error in the main thread, wherever it is outside `held`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell's background jobs do with Ctrl-C
            signal.signal(number, _on_signal)


def ignore_signals() -> None:
    """Let SIGTERM and Ctrl-C do nothing: the job is ending, and its last line must still be written."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def check_signals() -> None:
    """Raise the error of a signal that came earlier: other code can swallow it, as torch does while it is imported.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
        StoppedError: it was SIGTERM.
    """
    if signal.SIGINT in _signals:
        raise KeyboardInterrupt
    if _signals:
        fix = "run the same job again: it resumes from its checkpoint, if it has one"
        raise StoppedError("stopped by SIGTERM", fix=fix)


def _on_signal(number: int, _frame: object) -> None:
    _signals.append(number)
    raise_unless_held(check_signals)


def cores(cgroup: Path = CGROUP) -> int:
    """Return the number of cores that this process may use, after its CPU affinity and the limit of its container.

    A limit such as ``podman run --cpus 4`` hides no cores: with a thread for each core of the machine, the few threads
    that may run wait for those that may not.
    """
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), _limit(cgroup))))


def _limit(cgroup: Path) -> float:
    """Return the limit of control groups, version 2 or 1, in cores; infinity if there is none."""
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            return int(quota) / int(period) if quota not in {"max", "-1"} else math.inf
    return math.inf


def tune_process() -> None:
    """Tune OpenMP and malloc for this process; call it before torch is imported.

    torch uses the available cores, and none of its threads spins for long while it waits: a spinning thread keeps a
    core from other threads, even from the one that it waits for. OpenMP reads the environment when it is loaded;
    variables that are already set stay.

    Freed memory is reused at once. By default glibc returns the memory of an image to the kernel and requests it page
    by page for the next image, which takes a third as long as decoding it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    with contextlib.suppress(AttributeError):  # a C library other than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


@contextlib.contextmanager
def tell_others(scratch: Path, place: Place) -> Iterator[None]:
    """Tell the other processes of this node whether the body, run by the first one, has succeeded.

    Raises:
        TrainingError: they can't be told, and would wait for ever.
    """
    if place.local_world == 1:
        yield
        return
    done = False
    try:
        yield
        done = True
    finally:
        outcomes = _outcomes(scratch)
        told = any(_write_outcome(path, done) for path in outcomes)
        if done and not told:
            folders = ", ".join(str(path.parent) for path in outcomes)
            raise TrainingError(
                "can't tell the other processes of this node that the data is ready",
                expected=f"room for a small file in one of {folders}",
            )


def wait_for_first(scratch: Path) -> None:
    """Wait for the first process of this node; raise `TrainingError` if it has failed or is gone."""
    outcomes, parent = _outcomes(scratch), os.getppid()
    while not (found := [path for path in outcomes if _is_ours(path)]):
        if os.getppid() != parent:
            raise TrainingError("the launcher of this training is gone")
        time.sleep(_POLL)
    if parse_json(read_limited(found[0], _LONGEST, TrainingError), found[0], TrainingError) is not True:
        raise TrainingError("the first process of this node failed: its output says why")


def _write_outcome(path: Path, done: bool) -> bool:
    """Write the outcome, if that is possible there; return whether it was."""
    try:
        with atomic_writer(path) as file:
            file.write(json.dumps(done).encode())
    except OSError:
        return False
    return True


def _is_ours(path: Path) -> bool:
    """Whether there is a file of this user: others may write to some of these folders too."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        return False


def _outcomes(scratch: Path) -> list[Path]:
    """Return where the outcome may be: any of these folders, which all processes of a node see, may be full.

    The name is that of this start of the processes: of their parent, `torchrun`, and its restarts.
    """
    started = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): starttime
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    folders = (scratch, Path("/tmp"), Path("/dev/shm"))  # noqa: S108 - of others' files none is read
    return [folder / f"ready-{os.getppid()}-{started}-{restart}.json" for folder in folders]
