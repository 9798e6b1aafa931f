"""A ready-to-run model on the trainer images, rehearsed with podman as the Safe Haven runs it.

`docker/model/Dockerfile` makes it here, as its layers are shared with the trainer image in podman's store; that
`datapack build --runnable` makes the same image is what `test_model_dockerfile` shows. `stand_ins` says what a stand-in
can't show.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.bags import write_bag
from tests.containers.engines import PROJECT, Engine
from tests.containers.trainer_images import ALONE, MARKS, Image
from tests.models import RANDOM, random_weights
from tests.trainers.havens import REEF

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = MARKS

DOCKERFILE = PROJECT / "docker" / "model" / "Dockerfile"


@dataclass(frozen=True)
class Model:
    """A ready-to-run model in podman, and the folders of its job."""

    engine: Engine
    name: str
    root: Path

    @property
    def data(self) -> Path:
        return self.root / "safe_data"

    def rehearse(self, *arguments: str) -> tuple[int, list[str]]:
        """Rehearse it as strictly as possible; return the status and all lines."""
        (self.root / "variables").write_text(f"{ALONE}\n")
        (self.root / "outputs").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "datapack", "run", self.name, "--strict", "--env-file", "variables"]
        command += ["--data", str(self.data), "--outputs", str(self.root / "outputs"), "--", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DOCKER_HOST": self.engine.url}
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout.splitlines()


def payload(framework: str) -> dict[str, bytes]:
    """Return the payload of a detector that detects something, without training."""
    if framework == "torch":
        return {"model.json": RANDOM.to_json(), RANDOM.weights: random_weights()}
    from tests.trainers.keras.test_prediction import FACTS, sure_weights

    return {"model.json": FACTS.to_json(), FACTS.weights: sure_weights()}


@pytest.fixture
def model(trainer_image: Image, tmp_path: Path) -> Iterator[Model]:
    """Build the model on each trainer image in turn; its images are those of the reef."""
    context = tmp_path / "context"
    digest = write_bag(context / "data" / "crabs" / "v1", payload(trainer_image.framework))
    shutil.copy(PROJECT / ".dockerignore", context)
    name = f"localhost/crabs-run-{trainer_image.kind}:v1"
    trainer_image.engine.build(DOCKERFILE, context, name, BASE=trainer_image.name, NAME="crabs", DIGEST=digest)
    shutil.copytree(REEF / "images", tmp_path / "safe_data" / "dive 1")
    yield Model(trainer_image.engine, name, tmp_path)
    trainer_image.engine.run("image", "rm", "--force", name, check=False)


def test_it_detects_as_in_the_safe_haven(model: Model) -> None:
    """No network, a read-only root, a user without a name, read-only images, no file of settings: it detects."""
    (model.data / "broken.png").write_bytes(b"no image")
    status, lines = model.rehearse("predict", "--set", "device=cpu", "--set", "score=0.2", "--set", "run=found")
    assert status == 0, lines
    count = len(list((REEF / "images").iterdir()))
    assert any("model crabs@v1: verified, every byte: 2 files" in line for line in lines)
    (last,) = (line for line in lines if line.startswith("PREDICTION OK found "))
    assert last.endswith(f"detections in {count} images; 1 broken image left out, see images.csv")
    run = model.root / "outputs" / "found"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"], cwd=run, check=True)
    found = json.loads((run / "predictions.json").read_bytes())
    assert len(found["images"]) == count
    with (run / "images.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == count + 1


def test_without_a_gpu_it_says_so(model: Model) -> None:
    """Its own command asks for a GPU: without one there is one clear line, and nothing is detected on the CPU."""
    status, lines = model.rehearse()
    assert status == 1
    assert any(line.startswith("PREDICTION FAILED: there is no GPU") for line in lines)


def test_another_digest_is_refused(model: Model) -> None:
    """A model that is not the one in the environment is refused with status 3, before any framework is loaded."""
    wrong = f"DATAPACK_DIGEST=sha256:{'0' * 64}"
    options = ("--rm", "--network", "none", "--env", wrong, "--env", "PYTHONPROFILEIMPORTTIME=1")
    done = model.engine.run("run", *options, model.name, "predict", check=False)
    assert done.returncode == 3
    times, said = [], []  # Python's lines about imports, which the engine mixes with the job's own
    for line in done.stdout.splitlines():
        (times if line.startswith("import time:") else said).append(line)
    assert "the model is not the one that this image names" in said[-1]
    imported = {line.rpartition("|")[2].strip() for line in times}
    assert imported
    assert not {name for name in imported if name.partition(".")[0] in {"torch", "torchvision", "tensorflow"}}
