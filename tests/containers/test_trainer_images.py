"""The trainer images: each unchanged Dockerfile, on a stand-in for its base, rehearsed as the Safe Haven runs it.

`stand_ins` says what a stand-in contains and what it can't show.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.bags import write_bag
from tests.containers import stand_ins
from tests.containers.engines import PROJECT, Engine
from tests.trainers.havens import Haven, reef_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # PyTorch with CUDA is installed twice before the last test
    pytest.mark.skipif(
        os.environ.get("TRAINER_IMAGES") != "1",
        reason="needs 40 GB of disk and a quarter of an hour for three builds with PyTorch: make test-images",
    ),
]

WEIGHTS = "resnet50-11ad3fa6.pth"
FOLDERS = ("safe_data", "safe_outputs", "scratch")
SHARED = ("__init__", "bag/*", "errors", "executor", "files", "hashing", "page/*", "progress", "urls", "yamlfile")
TORCH = {"nv-pyt": "2.8.0", "pyt": "2.8.0", "piped-pyt": "2.14.1"}
ALONE = "OMP_NUM_THREADS=1"  # other work on this machine would make the threads wait for each other
VERSIONS = (
    "import numpy, torch, torchvision; print(*((m.__version__, m.__file__) for m in (numpy, torch, torchvision)))"
)


@dataclass(frozen=True)
class Image:
    """One of the three images, in podman."""

    engine: Engine
    kind: str

    @property
    def name(self) -> str:
        return f"localhost/trainers-{self.kind}:test"

    @property
    def settings(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self.engine.run("image", "inspect", self.name).stdout)[0]["Config"]
        return config

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run a program in the image, or in its base, instead of its entrypoint; return what it prints."""
        return self.engine.run("run", "--rm", "--network", "none", *arguments, check=check).stdout

    def job(self, haven: Haven, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return the arguments with which podman runs a job as uid 0, as the Safe Haven does."""
        modes = {"safe_data": "ro", "safe_outputs": "rw", "scratch": "rw"}
        volumes = [f"--volume={haven.root / name}:/{name}:{mode}" for name, mode in modes.items()]
        return ["run", "--network", "none", "--env", ALONE, *volumes, *options, self.name, *arguments]


@pytest.fixture(scope="module")
def bases(podman: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the stand-ins; return a folder with pip settings for builds. The store's content is removed with it."""
    folder = tmp_path_factory.mktemp("bases")
    stand_ins.make_bases(podman, folder)
    yield folder
    podman.run("image", "rm", "--force", *{f"localhost/trainers-{kind}:test" for kind in TORCH}, check=False)
    podman.run("image", "rm", "--force", *stand_ins.BASES.values(), check=False)
    podman.run("image", "prune", "--force", check=False)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a clone's folder as it is after fetching the weights, with random weights of the same format."""
    import torch
    import torchvision

    folder = tmp_path_factory.mktemp("context")
    for name in ("datapack", "docker", "trainers"):
        shutil.copytree(PROJECT / name, folder / name)
    for name in ("LICENSE", ".dockerignore"):
        shutil.copy(PROJECT / name, folder)
    torch.manual_seed(0)
    content = io.BytesIO()
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), content)
    bag = folder / "data" / "resnet50" / "imagenet1k-v2"
    write_bag(bag, {WEIGHTS: content.getvalue()}, "BSD-3-Clause")
    for path in [bag, *bag.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)  # modes as a strict umask gives
    return folder


@pytest.fixture(scope="module", params=TORCH)
def image(request: pytest.FixtureRequest, podman: Engine, bases: Path, context: Path) -> Image:
    """Build each image in turn from its Dockerfile; only its base differs."""
    image = Image(podman, request.param)
    dockerfile = context / "docker" / image.kind / "Dockerfile"
    options = stand_ins.with_pip(bases)
    base = stand_ins.BASES[image.kind]
    podman.build(dockerfile, context, image.name, options=options, timeout=stand_ins.BUILD_TIMEOUT, BASE=base)
    return image


@pytest.fixture
def haven(tmp_path: Path) -> Haven:
    """The folders of a job with the project's example and a minimal training."""
    model = {"name": "fcos_resnet50_fpn", "weights": "imagenet"}  # the fastest on small images
    settings = {"image": {"min_size": 64, "max_size": 96}, "model": model, "training": {"epochs": 2, "batch_size": 8}}
    return Haven(tmp_path, reef_files(), settings)


def test_it_starts_as_the_guide_requires(image: Image) -> None:
    """It starts without arguments, as any user, and says what it is; its mount points are empty."""
    settings = image.settings
    assert (settings["Entrypoint"], settings["Cmd"]) == (["python", "-m", "trainers"], ["train"])
    assert not settings.get("User")
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.title"] == image.kind
    assert labels["org.opencontainers.image.base.name"] == stand_ins.BASES[image.kind]
    assert labels["datapack.stand-in"] == "true"
    environment = dict(variable.split("=", 1) for variable in settings["Env"])
    assert (environment["HF_HUB_OFFLINE"], environment["TMP"]) == ("1", "/scratch")
    found = image.run("--entrypoint", "find", image.name, *(f"/{name}" for name in FOLDERS), "-printf", "%p %m %U\n")
    assert found.split("\n") == [*(f"/{name} 755 0" for name in FOLDERS), ""]


def test_only_root_can_write_the_program(image: Image) -> None:
    """Program, packages and weights belong to root, others can only read them, and all bytecode is compiled."""
    find = ("--user", "54321:54321", "--entrypoint", "find", image.name, "/opt/trainers")
    assert image.run(*find, "(", "!", "-user", "root", "-o", "-perm", "/022", "-o", "!", "-readable", ")") == ""
    ours = image.run(*find, "-path", "*/trainers/trainers/*", "-name", "*.py*", "-printf", "%f\n").split()
    assert {name for name in ours if name.endswith(".py")} >= {"__main__.py", "loop.py", "sections.py"}
    assert sum(name.endswith(".py") for name in ours) == sum(name.endswith(".pyc") for name in ours)
    shared = image.run(*find, "-path", "*/trainers/datapack/*", "-type", "f", "!", "-name", "*.pyc", "-printf", "%P\n")
    expected = {path for name in SHARED for path in (PROJECT / "datapack").glob(f"{name}.*") if path.is_file()}
    expected |= {path for path in (PROJECT / "datapack" / "page").iterdir() if path.is_file()}
    assert sorted(shared.split()) == sorted(str(path.relative_to(PROJECT)) for path in expected)


def test_packages_of_the_base_are_used(image: Image) -> None:
    """numpy, torch and torchvision are the base's own, if it has them, and all requirements are satisfied."""
    versions = image.run("--entrypoint", "python", image.name, "-c", VERSIONS)
    assert f"('{TORCH[image.kind]}" in versions
    if image.kind != "piped-pyt":
        assert versions == image.run("--entrypoint", "python", stand_ins.BASES[image.kind], "-c", VERSIONS)
        assert "/opt/trainers" not in versions
    assert "No broken requirements" in image.run("--entrypoint", "python", image.name, "-m", "pip", "check")


def test_the_packages_are_those_of_the_list(image: Image) -> None:
    """All other packages have the versions in the list, whatever versions the base has."""
    lists = ["docker/requirements.txt", *(["docker/piped-pyt/requirements.txt"] if image.kind == "piped-pyt" else [])]
    lines = [line for name in lists for line in (PROJECT / name).read_text().splitlines()]
    wanted = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    code = "import sys, importlib.metadata as m; print(*(m.version(name) for name in sys.argv[1:]))"
    found = image.run("--entrypoint", "python", image.name, "-c", code, *wanted).split()
    assert dict(zip(wanted, found, strict=True)) == wanted


def rehearse(image: Image, haven: Haven, *options: str) -> list[str]:
    """Rehearse a training that must succeed, as strictly as possible; return its output up to the last line."""
    variables = haven.root / "variables"
    variables.write_text(f"{ALONE}\n")
    command = [sys.executable, "-m", "datapack", "run", image.name, "--strict", "--env-file", variables]
    command += ["--data", haven.data, "--outputs", haven.outputs, *options]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DOCKER_HOST": image.engine.url}
    done = subprocess.run(command, cwd=haven.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "strict: a read-only root" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return lines[: lines.index(f"rehearsed {image.name}")]


def test_two_epochs_are_rehearsed(image: Image, haven: Haven) -> None:
    """Without a network, on a read-only root, as a user without a name, a training checks, evaluates and reports."""
    haven.configure()
    lines = rehearse(image, haven)
    assert any("reef@v1: verified, every byte" in line for line in lines)
    assert lines[-1].startswith("TRAINING OK run mAP=")
    run = haven.outputs / "run"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert {path.name for path in run.iterdir()} >= {"run.json", "log.txt", "model.pt", "coco_eval.json", "report.html"}
    subprocess.run(["sha256sum", "--check", "--quiet", "manifest-sha256.txt"], cwd=run, check=True)


def test_two_processes_are_rehearsed(image: Image, haven: Haven) -> None:
    """Each image has torchrun; with it as the entrypoint in a file of podman flags, two processes train together."""
    assert image.run("--entrypoint", "sh", image.name, "-c", "command -v torchrun")
    if image.kind != "piped-pyt":
        return  # its torchrun is the base's own
    haven.configure(training={"epochs": 1})
    words = ["torchrun", "--standalone", "--nproc-per-node=2", "-m", "trainers"]
    (haven.root / "flags").write_text(f"--entrypoint='{json.dumps(words)}'\n")
    lines = rehearse(image, haven, "--opt-file", str(haven.root / "flags"))
    assert lines[-1].startswith("TRAINING OK run mAP=")


def test_a_stopped_training_resumes(image: Image, haven: Haven) -> None:
    """As uid 0: a check, then a training that is stopped after an epoch and resumes where it was."""
    haven.configure()
    assert (
        image.engine.run(*image.job(haven, "check", options=("--rm",))).stdout.splitlines()[-1].startswith("CHECK OK")
    )
    container = image.engine.run(*image.job(haven, options=("--detach",))).stdout.split()[-1]
    metrics = haven.outputs / "run" / "metrics.jsonl"
    wait_for_a_line(metrics, image.engine, container)
    image.engine.run("kill", "--signal", "TERM", container)
    assert image.engine.run("wait", container).stdout.split()[-1] == "75"
    log = image.engine.run("logs", container).stdout
    assert log.splitlines()[-1].startswith("TRAINING FAILED: ")
    image.engine.run("rm", container)
    kept = metrics.read_text()
    log = image.engine.run(*image.job(haven, options=("--rm",))).stdout
    assert "going on from /safe_outputs/run/checkpoint.pt" in log
    assert log.splitlines()[-1].startswith("TRAINING OK run mAP=")
    assert metrics.read_text().startswith(kept)
    assert len(metrics.read_text().splitlines()) == 2


@pytest.mark.parametrize("image", ["pyt"], indirect=True)
def test_apptainer_trains(image: Image, haven: Haven, researcher_apptainer: Path, tmp_path: Path) -> None:
    """As a SIF, read-only and as the researcher, an image trains too."""
    layout = f"oci:{tmp_path}/layout"
    store = json.loads(image.engine.run("info", "--format", "json").stdout)["store"]
    place = f"[{store['graphDriverName']}@{store['graphRoot']}+{store['runRoot']}]{image.name}"
    copy = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers", f"containers-storage:{place}", layout]
    subprocess.run(copy, check=True)
    haven.configure(training={"epochs": 1})
    command = [sys.executable, "-m", "datapack", "run", layout, "--launch", "apptainer", "--env-file", "variables"]
    (haven.root / "variables").write_text(f"{ALONE}\n")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PATH": f"{researcher_apptainer}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*command, "--data", haven.data, "--outputs", haven.outputs],
        cwd=haven.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(tmp_path / "layout")
    assert done.returncode == 0, (done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    assert any("reef@v1: verified, every byte" in line for line in lines)
    assert lines[lines.index(f"rehearsed {layout}") - 1].startswith("TRAINING OK run mAP=")
    assert (haven.outputs / "run" / "model.pt").exists()


def wait_for_a_line(path: Path, engine: Engine, container: str) -> None:
    """Wait until a file has a line, as long as the container that writes it runs."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.1)
        running = engine.run("inspect", "--format", "{{.State.Running}}", container).stdout.strip()
        assert running == "true", engine.run("logs", container).stdout


def test_a_changed_byte_is_refused_before_torch_is_loaded(image: Image, haven: Haven) -> None:
    """A changed byte in an image gives status 3 and the image's name, and Python never imports torch."""
    haven.configure()
    broken = sorted((haven.bag / "data" / "images").iterdir())[7]
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    options = ("--rm", "--env", "PYTHONPROFILEIMPORTTIME=1")
    done = image.engine.run(*image.job(haven, "train", options=options), check=False)
    assert done.returncode == 3, done.stdout
    assert done.stdout.splitlines()[-1].startswith("TRAINING FAILED: ")
    assert f"changed  data/images/{broken.name}" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stdout.splitlines() if line.startswith("import time:")}
    assert "trainers.dataset.verify" in imported
    assert not {name for name in imported if name.partition(".")[0] in {"torch", "torchvision"}}
