"""Run commands in turn and compare their times by medians and ratios, as machines are noisy."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True)
class Run:
    """One run of a command: wall-clock seconds, and the peak memory in bytes of the command or its largest child."""

    seconds: float
    memory: int


@dataclass
class Contender:
    """A command in a comparison, and what to do before each of its runs."""

    name: str
    command: Sequence[str]
    before: Callable[[], object] = lambda: None
    cwd: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def shell(cls, name: str, line: str, cwd: Path, before: Callable[[], object] = lambda: None) -> Contender:
        """Make a contender from a shell command line."""
        return cls(name, ["sh", "-c", line], before, cwd)

    @property
    def seconds(self) -> float:
        """The median time of the runs."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def memory(self) -> int:
        """The peak memory of all runs, in bytes."""
        return max(run.memory for run in self.runs)


def run(contender: Contender) -> Run:
    """Run a contender once, after its preparation and a sync; raise if it fails."""
    contender.before()
    os.sync()
    started = time.perf_counter()
    process = subprocess.Popen(
        contender.command,
        cwd=contender.cwd,
        env={**os.environ, **contender.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    stderr = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{contender.name} failed ({process.returncode}): {stderr.decode(errors='replace')[-2000:]}")
    return Run(seconds, usage.ru_maxrss * 1024)


def peak_memory(contender: Contender) -> int:
    """Run a contender once more and return the peak memory of all its processes together, in bytes.

    Shared memory counts once: this is the sum of the proportional set sizes, sampled 50 times a second.
    """
    contender.before()
    process = subprocess.Popen(
        contender.command, cwd=contender.cwd, env={**os.environ, **contender.env}, stdout=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_proportional, _family(process.pid))))
        time.sleep(0.02)
    return peak


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return
    for child in children:
        yield from _family(int(child))


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def compare(title: str, ours: Contender, others: Sequence[tuple[Contender, str]], repeats: int) -> None:
    """Run all contenders in turn, ``repeats`` times, and print each median with its ratio to ours.

    ``others`` come with the target for the ratio, such as ``at least 5 x``.
    """
    contenders = [ours, *(other for other, _ in others)]
    for _ in range(repeats):
        for contender in contenders:
            contender.runs.append(run(contender))
    print(f"\n{title}")
    print(f"  {ours.name:48} {ours.seconds:8.2f} s   peak {ours.memory / 1e6:5.0f} MB")
    for other, target in others:
        ratio = other.seconds / ours.seconds
        print(f"  {other.name:48} {other.seconds:8.2f} s   ratio {ratio:6.2f}   target: {target}", flush=True)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
