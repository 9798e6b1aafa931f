"""The trainer images: each unchanged Dockerfile, on a stand-in for its base, rehearsed as the Safe Haven runs it.

`stand_ins` says what a stand-in contains and what it can't show.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.containers.engines import PROJECT, Engine
from tests.containers.trainer_images import ALONE, KINDS, MARKS, Image
from tests.trainers.havens import Haven, reef_files

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = MARKS

OPEN = ("-perm", "/022", "-o", "!", "-readable")
MODEL = "model.safetensors"
FOLDERS = ("safe_data", "safe_outputs", "scratch")
SHARED = ("__init__", "errors", "executor", "files", "hashing", "jsonfile", "progress", "text", "urls", "yamlfile")
PYTORCH = pytest.mark.images("nv-pyt", "pyt", "piped-pyt")
TENSORFLOW = pytest.mark.images("tf")
#: The fastest model on small images, and what it starts from: the image of TensorFlow has no weights.
MODELS = {
    "torch": {"name": "fcos_resnet50_fpn", "weights": "imagenet"},
    "tensorflow": {"name": "retinanet_resnet18_fpn_keras", "weights": "random"},
}
#: What KerasHub asks for, but no detector needs.
MISSING = {"kagglehub", "kagglesdk", "sentencepiece", "tensorflow-text", "huggingface-hub"}


@pytest.fixture
def image(trainer_image: Image) -> Image:
    """Each of the images in turn."""
    return trainer_image


@pytest.fixture
def haven(image: Image, tmp_path: Path) -> Haven:
    """The folders of a job with the project's example and a minimal training."""
    model = MODELS[image.framework]
    settings = {"image": {"min_size": 64, "max_size": 96}, "model": model, "training": {"epochs": 2, "batch_size": 8}}
    return Haven(tmp_path, reef_files(), settings)


def test_it_starts_as_the_guide_requires(image: Image) -> None:
    """It starts without arguments, as any user, and says what it is; its mount points are empty."""
    settings = image.settings
    assert (settings["Entrypoint"], settings["Cmd"]) == (["python", "-m", "trainers"], ["train"])
    assert not settings.get("User")
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.title"] == image.kind
    assert labels["org.opencontainers.image.base.name"] == image.base
    assert labels["datapack.stand-in"] == "true"
    environment = dict(variable.split("=", 1) for variable in settings["Env"])
    assert (environment["HF_HUB_OFFLINE"], environment["TMP"]) == ("1", "/scratch")
    found = image.run("--entrypoint", "find", image.name, *(f"/{name}" for name in FOLDERS), "-printf", "%p %m %U\n")
    assert found.split("\n") == [*(f"/{name} 755 0" for name in FOLDERS), ""]


def test_only_root_can_write_the_program(image: Image) -> None:
    """Program, packages and weights belong to root, others can only read them, and all bytecode is compiled."""
    find = ("--user", "54321:54321", "--entrypoint", "find", image.name, "/opt/trainers")
    assert image.run(*find, "!", "-type", "l", "(", "!", "-user", "root", "-o", *OPEN, ")") == ""
    ours = image.run(*find, "-path", "*/trainers/trainers/*", "-name", "*.py*", "-printf", "%f\n").split()
    assert {name for name in ours if name.endswith(".py")} >= {"__main__.py", "loop.py", "sections.py", "jobs.py"}
    assert sum(name.endswith(".py") for name in ours) == sum(name.endswith(".pyc") for name in ours)
    shared = image.run(*find, "-path", "*/trainers/datapack/*", "-type", "f", "!", "-name", "*.pyc", "-printf", "%P\n")
    expected = {PROJECT / "datapack" / f"{name}.py" for name in SHARED}
    expected |= {path for name in ("bag", "page") for path in (PROJECT / "datapack" / name).iterdir() if path.is_file()}
    assert sorted(shared.split()) == sorted(str(path.relative_to(PROJECT)) for path in expected)


def test_packages_of_the_base_are_used(image: Image) -> None:
    """numpy and the framework are the base's own, if it has them, and all requirements are satisfied."""
    names = ("numpy", "torch", "torchvision") if image.framework == "torch" else ("numpy", "tensorflow")
    code = "import sys; print(*((m.__version__, m.__file__) for m in map(__import__, sys.argv[1:])))"
    versions = image.python(code, *names)
    assert f"('{KINDS[image.kind].partition(' ')[2]}" in versions
    if image.kind != "piped-pyt":
        assert versions == image.python(code, *names, image=image.base)
        assert "/opt/trainers" not in versions
    broken = image.run("--entrypoint", "python", image.name, "-m", "pip", "check", check=False)
    missing = set(re.findall(r" requires ([\w-]+), which is not installed\.\n", broken))
    assert (missing, broken.count("\n")) == (MISSING, len(MISSING)) if image.kind == "tf" else "No broken" in broken


def test_the_packages_are_those_of_the_list(image: Image) -> None:
    """All other packages have the versions in the lists, whatever versions the base has."""
    lists = [PROJECT / "docker" / "requirements.txt", *(PROJECT / "docker" / image.kind).glob("*.txt")]
    lines = [line for path in lists for line in path.read_text().splitlines()]
    wanted = dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line and not line.startswith("#"))
    code = "import sys, importlib.metadata as m; print(*(m.version(name) for name in sys.argv[1:]))"
    found = image.run("--entrypoint", "python", image.name, "-c", code, *wanted).split()
    assert dict(zip(wanted, found, strict=True)) == wanted


@TENSORFLOW
def test_tensorflow_finds_the_cuda_that_it_was_built_for(image: Image) -> None:
    """By the names that TensorFlow uses, the loader finds libraries of our packages, which are new enough."""
    code = """
import ctypes, tensorflow.sysconfig as s
cuda, cudnn = (s.get_build_info()[name] for name in ("cuda_version", "cudnn_version"))
version = ctypes.c_int()
ctypes.CDLL(f"libcudart.so.{cuda.partition('.')[0]}").cudaRuntimeGetVersion(ctypes.byref(version))
major, minor = map(int, cuda.split(".")[:2])
assert version.value >= 1000 * major + 10 * minor, version
assert ctypes.CDLL(f"libcudnn.so.{cudnn}").cudnnGetVersion() >= 90300
for name in ("cublas.so.12", "cublasLt.so.12", "cufft.so.11", "cusolver.so.11", "cusparse.so.12", "nccl.so.2"):
    ctypes.CDLL(f"lib{name}")
paths = {line.split()[-1] for line in open("/proc/self/maps") if any(name in line for name in ("libcu", "libnccl"))}
assert len(paths) > 8, paths
print(*{path.rpartition("/nvidia/")[0] for path in paths})"""
    assert image.python(code) == "/opt/trainers/site-packages"


def test_two_epochs_are_rehearsed(image: Image, haven: Haven) -> None:
    """Without a network, on a read-only root, as a user without a name, a training checks, evaluates and reports."""
    haven.configure()
    lines = image.rehearse(haven)
    assert any("reef@v1: verified, every byte" in line for line in lines)
    assert lines[-1].startswith("TRAINING OK run mAP=")
    run = haven.outputs / "run"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert {path.name for path in run.iterdir()} >= {"run.json", "log.txt", MODEL, "coco_eval.json", "report.html"}
    subprocess.run(["sha256sum", "--check", "--quiet", "manifest-sha256.txt"], cwd=run, check=True)


@PYTORCH
def test_two_processes_are_rehearsed(image: Image, haven: Haven) -> None:
    """Each image has torchrun; with it as the entrypoint in a file of podman flags, two processes train together."""
    assert image.run("--entrypoint", "sh", image.name, "-c", "command -v torchrun")
    if image.kind != "piped-pyt":
        return  # its torchrun is the base's own
    haven.configure(training={"epochs": 1})
    words = ["torchrun", "--standalone", "--nproc-per-node=2", "-m", "trainers"]
    (haven.root / "flags").write_text(f"--entrypoint='{json.dumps(words)}'\n")
    lines = image.rehearse(haven, "--opt-file", str(haven.root / "flags"))
    assert lines[-1].startswith("TRAINING OK run mAP=")


@TENSORFLOW
def test_a_trained_model_predicts(image: Image, haven: Haven) -> None:
    """As strictly as a training, a model from /safe_data evaluates its validation images, and predicts."""
    haven.configure(training={"epochs": 1})
    image.rehearse(haven)
    shutil.copy(haven.outputs / "run" / MODEL, haven.data)
    haven.configure(data={"eval": "train.json", "eval_images": "images"}, evaluation={"model": MODEL})
    assert image.rehearse(haven, "--", "evaluate", outputs="evaluated")[-1].startswith("EVALUATION OK run mAP=")
    last = image.rehearse(haven, "--", "predict", outputs="predicted")[-1]
    assert re.fullmatch(r"PREDICTION OK run [0-9,]+ detections in 72 images", last)
    assert json.loads((haven.root / "predicted" / "run" / "predictions.json").read_text())


@TENSORFLOW
def test_it_has_no_weights_to_start_from(image: Image, haven: Haven) -> None:
    """ImageNet's weights, which this image lacks, are one line that says what to do, before the data is read."""
    haven.configure(model={"weights": "imagenet"})
    done = image.engine.run(*image.job(haven, "train", options=("--rm",)), check=False)
    assert done.returncode == 2, done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("TRAINING FAILED: model.weights: imagenet: ")
    assert "random" in last
    assert "verified" not in done.stdout


@pytest.mark.images("pyt", "tf")
def test_the_other_framework_is_in_another_image(image: Image, haven: Haven) -> None:
    """A model of the framework that an image lacks is one line that names what is missing."""
    other = {"torch": "tensorflow", "tensorflow": "torch"}[image.framework]
    haven.configure(model={**MODELS[other], "weights": "random"})
    done = image.engine.run(*image.job(haven, "train", options=("--rm",)), check=False)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert re.search(f"TRAINING FAILED: .*(keras|{other})", done.stdout.splitlines()[-1])


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
    assert "resuming from /safe_outputs/run/checkpoint." in log
    assert log.splitlines()[-1].startswith("TRAINING OK run mAP=")
    assert metrics.read_text().startswith(kept)
    assert len(metrics.read_text().splitlines()) == 2


@pytest.mark.images("pyt")
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
    assert (haven.outputs / "run" / MODEL).exists()


def wait_for_a_line(path: Path, engine: Engine, container: str) -> None:
    """Wait until a file has a line, as long as the container that writes it runs."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.1)
        running = engine.run("inspect", "--format", "{{.State.Running}}", container).stdout.strip()
        assert running == "true", engine.run("logs", container).stdout


def test_a_changed_byte_is_refused_before_a_framework_is_loaded(image: Image, haven: Haven) -> None:
    """A changed byte in an image gives status 3 and the image's name, and Python never imports a framework."""
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
    assert not {name for name in imported if name.partition(".")[0] in {"torch", "torchvision", "tensorflow", "keras"}}
