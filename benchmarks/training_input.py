"""The input of a detector: ours, from decoded images in /scratch, and torchvision's reference.

Both have the same images (1920 x 1080, PNG, 2.1 MB, in the page cache), batches, and threads or worker processes, and
only flip images. "Ready" is the input of the backbone: float32, 1333 x 750, normalised, padded. Each contender has its
own process, which measures itself after all imports: ``python -m benchmarks.training_input ours|reference FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.images import write_photos
from benchmarks.measure import Contender, compare
from benchmarks.workplace import PROJECT, Workplace, workplace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH, WORKERS = 8, 2
IMAGES = 96
OURS, VARIED, REFERENCE = 16, 3, 2  # repetitions of the images in an epoch, so that it takes some seconds

CONFIGURATION = """\
dataset: data/noise/v1
digest: sha256:{digest}
device: cpu
workers: {workers}
data: {{train: list.json, images: images, eval: null, sequences: none}}
"""

CHECKS = (
    ("sha256sum -c", "sha256sum -c --quiet manifest-sha256.txt", "at least 3.5 x"),
    ("cat | openssl dgst -sha256", "find data -type f | xargs cat | openssl dgst -sha256", "at least 1 x"),
)


class Work(NamedTuple):
    """The cost of processing some images."""

    rate: float  # images/s
    cost: float  # CPU seconds per image, of all processes

    @classmethod
    def of(cls, count: int, work: Callable[[], object]) -> Work:
        """Run some work and time it."""
        started, used = time.perf_counter(), os.times()[:4]
        work()
        seconds, spent = time.perf_counter() - started, sum(os.times()[:4]) - sum(used)
        return cls(count / seconds, spent / count)

    @classmethod
    def median(cls, runs: Sequence[Work]) -> Work:
        """Return the median of each figure."""
        return cls(*map(statistics.median, zip(*runs, strict=True)))


def bench(count: int, repeats: int) -> None:
    """Compare the input of later epochs and of the first one, and the check on its own."""
    with workplace(IMAGES, write_photos) as place:
        _configure(place)
        _compare_input(place, repeats)
    with workplace(count) as place:
        _configure(place)
        check = [sys.executable, "-m", "trainers", "check", "--config", str(place.root / "train.yml")]
        compare(
            f"Check {count} images before training, and nothing else",
            Contender("trainers check", [*check, "--scratch", str(place.root)], cwd=place.root, env=PROJECT),
            [(Contender.shell(name, line, place.bag), target) for name, line, target in CHECKS],
            repeats,
        )


def _configure(place: Workplace) -> None:
    place.fetch()
    digest = hashlib.sha256((place.bag / "manifest-sha256.txt").read_bytes()).hexdigest()
    (place.root / "train.yml").write_text(CONFIGURATION.format(digest=digest, workers=WORKERS))


def _compare_input(place: Workplace, repeats: int) -> None:
    """Run both in turn and print the medians for each type of epoch."""
    runs: dict[str, list[Work]] = {}
    for _ in range(repeats):
        for contender in ("ours", "reference"):
            command = [sys.executable, "-m", "benchmarks.training_input", contender, str(place.root)]
            done = subprocess.run(command, env={**os.environ, **PROJECT}, stdout=subprocess.PIPE, text=True, check=True)
            for name, figures in json.loads(done.stdout.splitlines()[-1]).items():
                runs.setdefault(name, []).append(Work(*figures))
    works = {name: Work.median(them) for name, them in runs.items()}
    print(f"\nInput from the second epoch on: batches of {BATCH}, {WORKERS} threads or worker processes, only flips")
    _print("trainers, ready", works["later"])
    _print("torchvision's reference, ready", works["reference later"], works["later"], "target: at least 10 x")
    _print("torchvision's reference, as loaded, not yet resized", works["reference loaded"], works["later"])
    _print("trainers, ready, with the default augmentation", works["varied"], works["later"])
    print(f"\nFirst epoch of {IMAGES} images")
    _print("trainers: check, decode, resize, cache; read, ready", works["first"])
    _print(
        "torchvision's reference, ready, no check", works["reference first"], works["first"], "target: at least 0.87 x"
    )
    print(f"  load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)


def _print(name: str, work: Work, ours: Work | None = None, target: str = "") -> None:
    """Print a row; the ratio of CPU times is the more reliable one on a busy machine."""
    line = f"  {name:52} {work.rate:7.1f} /s, {1000 * work.cost:6.1f} ms CPU each"
    if ours:
        line += f"   ratio {ours.rate / work.rate:6.2f}, of CPU time {work.cost / ours.cost:6.2f}   {target}"
    print(line.rstrip())


def ours(root: Path) -> dict[str, Work]:
    """Check and decode the images, then read them."""
    from trainers.process import Place, tune_process

    tune_process()
    import numpy as np

    from trainers import config
    from trainers.config import AugmentationSection
    from trainers.context import RunContext
    from trainers.dataset.prepare import PreparedData, prepare_data
    from trainers.log import Log
    from trainers.pytorch.loader import Loader
    from trainers.pytorch.normalize import NormalizeAndPad
    from trainers.training.augment import Augment

    wanted, prepare = config.load(root / "train.yml"), NormalizeAndPad()
    flip = AugmentationSection(scale=(1, 1), brightness=0, contrast=0, saturation=0)

    def read(data: PreparedData, section: AugmentationSection, times: int = 1) -> None:
        places = np.tile(np.arange(IMAGES), times)
        options = {"batch_size": BATCH, "workers": WORKERS, "device": "cpu", "shuffle": True}
        loader = Loader(data.coco, data.pixels, places, augment=Augment(section), **options)
        for batch in loader.epoch(1):
            prepare(batch.images, batch.targets)

    with TemporaryDirectory(dir=root) as scratch:
        context = RunContext(root, root, Path(scratch), Place(), Log(quiet=True))
        first = Work.of(IMAGES, lambda: read(prepare_data(wanted, context, "train"), flip))
        data = prepare_data(wanted, context, "train")
        return {
            "first": first,
            "later": Work.of(IMAGES * OURS, lambda: read(data, flip, OURS)),
            "varied": Work.of(IMAGES * VARIED, lambda: read(data, AugmentationSection(), VARIED)),
        }


def reference(root: Path) -> dict[str, Work]:
    """Read the images as torchvision's reference does."""
    from benchmarks.reference_recipe import loader, prepared

    data, options = root / "data/noise/v1/data", {"batch_size": BATCH, "workers": WORKERS}
    once = loader(data / "images", data / "list.json", **options)
    often = loader(data / "images", data / "list.json", times=REFERENCE, **options)
    return {
        "reference first": Work.of(IMAGES, lambda: deque(prepared(once), 0)),
        "reference later": Work.of(IMAGES * REFERENCE, lambda: deque(prepared(often), 0)),
        "reference loaded": Work.of(IMAGES * REFERENCE, lambda: deque(often, 0)),
    }


if __name__ == "__main__":
    print(json.dumps({"ours": ours, "reference": reference}[sys.argv[1]](Path(sys.argv[2]))))
