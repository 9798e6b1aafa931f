"""Safe Havens in a temporary folder: the folders of a job, with a dataset and a configuration."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tests import forks
from tests.bags import write_bag

PROJECT = Path(__file__).parents[2]
REEF = PROJECT / "examples" / "reef"


def png(width: int, height: int, seed: int = 0) -> bytes:
    """Draw an image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def reef_files() -> dict[str, bytes]:
    """Return the payload of the project's example."""
    images = {f"images/{path.name}": path.read_bytes() for path in sorted((REEF / "images").iterdir())}
    return {"train.json": (REEF / "train.json").read_bytes(), **images}


def small_files(count: int = 12) -> dict[str, bytes]:
    """Return a payload of a few images with a box each, in two categories."""
    rows = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(count)]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [8 + i, 8, 20, 24], "area": 480, "iscrowd": 0}
        for i in range(count)
    ]
    categories = [{"id": 1, "name": "crab"}, {"id": 2, "name": "fish"}]
    coco = {"images": rows, "annotations": boxes, "categories": categories}
    images = {f"images/{i}.png": png(64, 48, seed=i) for i in range(count)}
    return {"train.json": json.dumps(coco).encode(), **images}


@dataclass
class Haven:
    """The three folders of a job in the Safe Haven, with a dataset and a configuration in the first."""

    root: Path
    files: dict[str, bytes]
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.data, self.outputs, self.scratch):
            folder.mkdir(exist_ok=True)
        self.digest = write_bag(self.bag, self.files)

    @property
    def data(self) -> Path:
        return self.root / "safe_data"

    @property
    def outputs(self) -> Path:
        return self.root / "safe_outputs"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def bag(self) -> Path:
        return self.data / "reef" / "v1"

    def configure(self, **changes: object) -> Path:
        """Write train.yml: the minimum for these files, plus the test's changes."""
        content = {
            "dataset": "reef/v1",
            "digest": self.digest,
            "device": "cpu",
            "run": "run",
            "data": {"images": "images", "eval": None},
            "image": {"min_size": 48, "max_size": 64},
            "model": {"name": "fcos_resnet50_fpn", "weights": "random"},
            "training": {"epochs": 1, "batch_size": 4},
        }
        for section, value in {**self.settings, **changes}.items():
            old = content.get(section)
            content[section] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        path = self.data / "train.yml"
        path.write_text(yaml.safe_dump(content))
        return path

    def command(self, *arguments: str) -> list[str]:
        """Give the command line of a job."""
        folders = ("--outputs", str(self.outputs), "--scratch", str(self.scratch))
        return [sys.executable, "-m", "trainers", *arguments, "--config", str(self.data / "train.yml"), *folders]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a job to its end; both of its streams are in ``stdout``."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
        )

    def fork(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a job that uses torch to its end, like `run` but without the seconds that the import of torch takes."""
        command = self.command(*arguments)
        status, output = forks.trainer.run(command[3:], self.environment(**environment), timeout=240)
        return subprocess.CompletedProcess(command, status, output)

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **more}

    def image(self, name: str = "3.png") -> Path:
        """Return where an image of the dataset is."""
        return self.bag / "data" / "images" / name
