"""The trainer images: how they are built on stand-ins for their bases, and how podman runs them as the Safe Haven does.

The fixture `trainer_image` builds each of them in turn. A test that is not for all of them says for which ones it is:
``@pytest.mark.images("pyt", "tf")``.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.bags import write_bag
from tests.containers import stand_ins
from tests.containers.engines import PROJECT, Engine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainers.havens import Haven

#: Each image's framework, in the version that its tests expect. Those with the same base follow each other.
KINDS = {"nv-pyt": "torch 2.8.0", "pyt": "torch 2.8.0", "tf": "tensorflow 2.21.0", "piped-pyt": "torch 2.14.1"}
ALONE = "OMP_NUM_THREADS=1"  # other work on this machine would make the threads wait for each other
WEIGHTS = "resnet50-11ad3fa6.pth"
#: What a file of tests of these images puts into its ``pytestmark``.
MARKS = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # PyTorch with CUDA is installed twice before the last test
    pytest.mark.skipif(
        os.environ.get("TRAINER_IMAGES") != "1",
        reason="needs 40 GB of disk and half an hour for builds with PyTorch and TensorFlow: make test-images",
    ),
]


@dataclass(frozen=True)
class Image:
    """One of the trainer images, in podman."""

    engine: Engine
    kind: str

    @property
    def name(self) -> str:
        return f"localhost/trainers-{self.kind}:test"

    @property
    def base(self) -> str:
        return stand_ins.BASES[self.kind]

    @property
    def framework(self) -> str:
        return KINDS[self.kind].partition(" ")[0]

    @property
    def settings(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self.engine.run("image", "inspect", self.name).stdout)[0]["Config"]
        return config

    def build(self, bases: Path, context: Path) -> None:
        """Build the image from its unchanged Dockerfile; only its base differs.

        Args:
            bases: a folder for what making the base needs.
            context: the build context, as `make_context` leaves it.
        """
        stand_ins.make_base(self.engine, bases, self.base)
        dockerfile = context / "docker" / self.kind / "Dockerfile"
        options = stand_ins.with_pip(bases)
        self.engine.build(
            dockerfile, context, self.name, options=options, timeout=stand_ins.BUILD_TIMEOUT, BASE=self.base
        )

    def remove(self) -> None:
        """Remove the image and its base; layers that other bases share stay."""
        self.engine.run("image", "rm", "--force", self.name, self.base, check=False)
        self.engine.run("image", "prune", "--force", check=False)

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run a program in the image, or in its base, instead of its entrypoint; return what it prints."""
        return self.engine.run("run", "--rm", "--network", "none", *arguments, check=check).stdout

    def python(self, code: str, *arguments: str, image: str = "") -> str:
        """Run Python in the image, or in another one, without the noise of TensorFlow; return what it prints."""
        quiet = ("--env", "TF_CPP_MIN_LOG_LEVEL=3")
        lines = self.run(*quiet, "--entrypoint", "python", image or self.name, "-c", code, *arguments).splitlines()
        return "\n".join(line for line in lines if not line.startswith(("WARNING: All log", "I0000", "E0000", "W0000")))

    def job(self, haven: Haven, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return the arguments with which podman runs a job as uid 0, as the Safe Haven does."""
        modes = {"safe_data": "ro", "safe_outputs": "rw", "scratch": "rw"}
        volumes = [f"--volume={haven.root / name}:/{name}:{mode}" for name, mode in modes.items()]
        return ["run", "--network", "none", "--env", ALONE, *volumes, *options, self.name, *arguments]

    def rehearse(self, haven: Haven, *options: str, outputs: str = "safe_outputs") -> list[str]:
        """Rehearse a job that must succeed, as strictly as possible; return its output up to the last line.

        Args:
            haven: the folders of the job.
            options: of `datapack run`.
            outputs: the folder in the haven for what the job writes; it must be empty.
        """
        (haven.root / "variables").write_text(f"{ALONE}\n")
        command = [sys.executable, "-m", "datapack", "run", self.name, "--strict", "--env-file", "variables"]
        command += ["--data", str(haven.data), "--outputs", str(haven.root / outputs), *options]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DOCKER_HOST": self.engine.url}
        done = subprocess.run(command, cwd=haven.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert "strict: a read-only root" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        lines = done.stdout.splitlines()
        return lines[: lines.index(f"rehearsed {self.name}")]


def make_context(folder: Path) -> None:
    """Make a clone's folder as `make images` has it, with the docs, and with random weights of the same format."""
    import torch
    import torchvision

    for name in ("datapack", "docker", "trainers"):
        shutil.copytree(PROJECT / name, folder / name)
    for name in ("LICENSE", ".dockerignore"):
        shutil.copy(PROJECT / name, folder)
    subprocess.run([sys.executable, PROJECT / "scripts" / "build_docs.py", folder / "build" / "docs"], check=True)
    torch.manual_seed(0)
    content = io.BytesIO()
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), content)
    bag = folder / "data" / "resnet50" / "imagenet1k-v2"
    write_bag(bag, {WEIGHTS: content.getvalue()}, "BSD-3-Clause")
    for path in [bag, *bag.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)  # modes as a strict umask gives
