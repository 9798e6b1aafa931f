"""Training speed on photo-like images, against torchvision's reference, and what the GPU does meanwhile.

All contenders train the same detector from random weights on the same images, PNGs of 1920 x 1080, in batches of the
same size, only with flips. Each has its own process, four epochs of the same number of steps, and the first one warms
up. The trainers' epochs include starting to read; the reference reads all of them in one go, which is in its favour.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.bags import photo_bag
from benchmarks.gpu.device import has_gpu, sampled
from benchmarks.gpu.reference import Figures, Options
from benchmarks.gpu.rows import NO_GPU, Row, reported
from benchmarks.gpu.running import PROJECT, Desk
from datapack.bag.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.gpu.device import Samples
    from benchmarks.gpu.rows import State
    from benchmarks.gpu.running import Ended

FULL = Options("fasterrcnn_resnet50_fpn_v2", 800, 1333, 8, steps=12, epochs=4, learning_rate=0.001, device="cuda")
SMALL = Options("fcos_resnet50_fpn", 96, 171, 2, steps=1, epochs=2, learning_rate=0.001, device="cpu", half=False)
TARGET = 1.5  # times as many images per second as the reference at the same precision
FLIPS = {"scale": [1, 1], "brightness": 0, "contrast": 0, "saturation": 0}


@dataclass(frozen=True)
class Bench:
    """The images, and the time that is left."""

    desk: Desk
    bag: Path
    digest: str
    options: Options
    deadline: float  # on time.monotonic's clock

    @property
    def left(self) -> float:
        """Seconds that are left."""
        seconds = self.deadline - time.monotonic()
        if seconds < 1:
            raise TimeoutError("over the time budget of this part")
        return seconds


def main() -> None:
    """Run the contenders, the most important ones first, within the seconds that the command line gives."""
    budget = float(sys.argv[1]) if sys.argv[1:] else 240
    gpu, began = has_gpu(), time.monotonic()
    options = FULL if gpu else SMALL
    with TemporaryDirectory(prefix="datapack-gpu-") as folder:
        count = -(-options.steps * options.batch_size * 5 // 4)  # a fifth is for validation
        bag = photo_bag(Path(folder) / "photos" / "v1", count)
        digest = Manifest.read(bag).digest
        bench = Bench(Desk(Path(folder)), bag, digest, options, began + budget)
        rates: dict[str, float] = {}
        for name, contender in CONTENDERS.items():
            if not gpu and name not in WITHOUT_GPU:
                Row(name, NO_GPU, "not measured").emit()
                continue
            with reported(name):
                rates[name] = contender(name, bench)
                _show_ratio(name, rates, gpu=gpu)


def _show_ratio(name: str, rates: dict[str, float], *, gpu: bool) -> None:
    ours = rates.get(OURS)
    if ours is None or name == OURS:
        return
    ratio = ours / rates[name] if name in AGAINST else rates[name] / ours
    what = f"trainers against: {name}" if name in AGAINST else f"{name}, against the defaults"
    if name == SAME and gpu:
        Row.check(what, f"{ratio:.2f} x, target at least {TARGET} x", ratio >= TARGET, ratio=ratio).emit()
    elif gpu:
        Row(what, f"{ratio:.2f} x", values={"ratio": ratio}).emit()


def _trainers(
    *, watch: Sequence[str] = (), sections: Mapping[str, Any] | None = None, **training: Any
) -> Callable[[str, Bench], float]:
    """Return the contender that is the trainers with some settings of `training`, and others instead of the usual."""

    def run(name: str, bench: Bench) -> float:
        options = bench.options
        settings = {
            "dataset": str(bench.bag),
            "digest": bench.digest,
            "run": "".join(letter if letter.isalnum() else "-" for letter in name),
            "device": options.device,
            "data": {"train": "list.json", "images": "images", "eval": None, "sequences": "none"},
            "image": {"min_size": options.min_size, "max_size": options.max_size},
            "augmentation": FLIPS,
            "model": {"name": options.model, "weights": "random"},
            "evaluation": {"every": options.epochs},
            "training": {
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "learning_rate": options.learning_rate * 16 / options.batch_size,  # it is per 16 images
                **training,
            },
            **(sections or {}),
        }
        with sampled() as samples:
            job = bench.desk.run("train", settings, watch=watch, timeout=bench.left).demand()
        return _show_job(name, job, samples)

    return run


def _show_job(name: str, job: Ended, samples: Samples) -> float:
    """Emit the rows of a training; return its images per second."""
    later, seen = job.rows[1:], job.times[1:]
    rate = statistics.median([float(row["images_per_second"]) for row in later])
    waiting = sum(row["input_wait_s"] for row in later) / sum(row["seconds"] for row in later)
    spans = [(at - row["seconds"], at) for row, at in zip(later, seen, strict=False) if not row["evaluation"]]
    device = job.rows[-1]["evaluation"] is not None and "peak_allocated" in job.report
    state: State = "measured" if device else "not measured"
    shown = _sentence(rate, waiting, samples, spans, job.report.get("peak_allocated", 0)) if device else NO_GPU
    values = {"rows": job.rows, "times": job.times, "report": job.report, "seconds": job.seconds}
    Row(name, shown, state, values).emit()
    if device and name == OURS:
        _show_evaluation(job)
    return rate


def _show_evaluation(job: Ended) -> None:
    """Emit the share of the evaluation in an epoch: the last epoch has one, the one before has none."""
    *_, second, third, last = job.times
    saving = third - second - job.rows[-2]["seconds"]
    evaluation, training = last - third - job.rows[-1]["seconds"] - saving, job.rows[-1]["seconds"]
    share = evaluation / (evaluation + training + saving)
    shown = f"{share:.0%} of an epoch: {evaluation:.1f} s, with {training:.1f} s of steps and {saving:.1f} s of saving"
    Row("evaluation of a quarter as many images, and of the model's file", shown, values={"share": share}).emit()


def _other(kind: str, **more: Any) -> Callable[[str, Bench], float]:
    """Return a contender of `benchmarks.gpu.reference`."""

    def run(name: str, bench: Bench) -> float:
        options = replace(bench.options, **more) if bench.options.device == "cuda" else bench.options
        program = [sys.executable, "-m", "benchmarks.gpu.reference", kind, str(bench.bag / "data")]
        with sampled() as samples:
            done = subprocess.run(
                [*program, json.dumps(asdict(options))],
                env={**os.environ, **PROJECT},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=bench.left,
            )
        found = Figures(**json.loads(done.stdout.splitlines()[-1]))
        rate = statistics.median(found.rates)
        shown = _sentence(rate, found.waiting, samples, found.spans, found.peak)
        gpu = options.device == "cuda"
        Row(name, shown if gpu else NO_GPU, "measured" if gpu else "not measured", asdict(found)).emit()
        if found.profile:
            _show_profile(found.profile, 1000 * options.batch_size / rate)
        return rate

    return run


def _show_profile(profile: dict[str, Any], step: float) -> None:
    """Emit what a step of ``step`` milliseconds consists of."""
    shown = (
        f"{profile['kernels']:.0f} kernels and copies that take {profile['kernel_ms']:.0f} ms, "
        f"{profile['kernel_ms'] / step:.0%} of its {step:.0f} ms; the CPU waits for them {profile['waits']:.0f} times"
    )
    Row("one step of it", shown, values=profile).emit()


def _sentence(rate: float, waiting: float, samples: Samples, spans: list[tuple[float, float]], peak: int) -> str:
    shown = f"{rate:.1f} images/s, {waiting:.1%} of the time waiting for input, peak {peak / 2**30:.1f} GiB allocated"
    if there := samples.within(spans):
        busy, power, used = there
        shown += f", GPU busy {busy:.0f} %, {power:.0f} W, {used / 1024:.1f} GiB in use"
    return shown


OURS = "trainers: fasterrcnn_resnet50_fpn_v2, 800 x 1333, batches of 8, bfloat16"
SAME = "torchvision's reference in bfloat16, a worker process for each core"
USUAL = "torchvision's reference as it is: float32, 4 worker processes"
BOUND = "the trainers' steps without any input: one batch that stays on the GPU"
CORES = len(os.sched_getaffinity(0))

#: By importance, as the last ones may find no time left.
CONTENDERS: dict[str, Callable[[str, Bench], float]] = {
    OURS: _trainers(),
    SAME: _other("reference", workers=CORES),
    BOUND: _other("fixed"),
    "trainers with channels_last: false": _trainers(channels_last=False),
    "trainers with threads that take turns sooner": _trainers(watch=["--turns", "0.0005"]),
    "trainers with workers: 2": _trainers(sections={"workers": 2}),
    "trainers with the default augmentation": _trainers(sections={"augmentation": {}}),
    USUAL: _other("reference", half=False),
    "trainers with compile: true": _trainers(compile=True),
}
AGAINST = {SAME, USUAL}
WITHOUT_GPU = {OURS, SAME, BOUND}


if __name__ == "__main__":
    main()
