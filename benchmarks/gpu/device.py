"""The GPU: its name, and how busy it is while something else uses it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_QUERY = "utilization.gpu,memory.used,power.draw"
_EVERY = 100  # milliseconds between two samples


@dataclass(frozen=True)
class Sample:
    """What nvidia-smi says at a moment."""

    at: float  # on time.monotonic's clock
    busy: float  # per cent of the last moments in which a kernel ran
    memory: float  # MiB in use on the whole card
    power: float  # watts


@dataclass
class Samples:
    """The samples so far."""

    samples: list[Sample] = field(default_factory=list)

    def within(self, spans: Sequence[tuple[float, float]]) -> tuple[float, float, float] | None:
        """Return the mean utilisation and power and the highest use of memory in some spans of time, if it is known."""
        chosen = [one for one in self.samples if any(first <= one.at <= last for first, last in spans)]
        if not chosen:
            return None
        busy, power = (statistics.mean(getattr(one, name) for one in chosen) for name in ("busy", "power"))
        return busy, power, max(one.memory for one in chosen)


@contextlib.contextmanager
def sampled() -> Iterator[Samples]:
    """Sample the first GPU until the body ends; without nvidia-smi there are no samples."""
    found, program = Samples(), shutil.which("nvidia-smi")
    if program is None:
        yield found
        return
    command = [program, "--id=0", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits", f"--loop-ms={_EVERY}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=_read, args=(process, found), daemon=True)
        reader.start()
        try:
            yield found
        finally:
            process.terminate()
            reader.join(5)


def _read(process: subprocess.Popen[str], found: Samples) -> None:
    for line in process.stdout or ():
        with contextlib.suppress(ValueError):  # "[N/A]" where a card does not say
            found.samples.append(Sample(time.monotonic(), *map(float, line.split(","))))


def has_gpu() -> bool:
    """Whether torch finds a GPU."""
    import torch

    return torch.cuda.is_available()


def describe() -> str:
    """Name the card, the versions and the processor."""
    import torch
    import torchvision

    card = "no GPU"
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        card = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, {facts.multi_processor_count} multiprocessors"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    return f"{card}; {versions}; {len(os.sched_getaffinity(0))} CPU cores"
