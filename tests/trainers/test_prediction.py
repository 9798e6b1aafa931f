"""Whole jobs in a ready-to-run model: `predict` on a folder of images, without a train.yml."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from datapack.bag.model_facts import ModelFacts
from tests import forks
from tests.bags import write_bag
from tests.models import RANDOM as FACTS
from tests.models import random_weights
from tests.trainers.havens import PROJECT, png
from trainers.training.model_file import ModelInfo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.xdist_group("predicted")]


@dataclass
class Shore:
    """The folders of a job, and the model of its image."""

    root: Path
    model: Path
    digest: str

    def __post_init__(self) -> None:
        for folder in (self.data, self.outputs, self.root / "scratch"):
            folder.mkdir(exist_ok=True)

    @property
    def data(self) -> Path:
        return self.root / "safe_data"

    @property
    def outputs(self) -> Path:
        return self.root / "safe_outputs"

    def command(self, *arguments: str) -> list[str]:
        (self.data / "predict.yml").write_text("{}")
        folders = ["--outputs", str(self.outputs), "--scratch", str(self.root / "scratch")]
        settings = ["--config", str(self.data / "predict.yml"), "--set", "device=cpu", "--set", "run=run"]
        return ["predict", *settings, *folders, *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        own = {"TRAINERS_MODEL": str(self.model), "DATAPACK_DIGEST": self.digest, "DATAPACK_DATASET": "crabs@v1"}
        return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **own, **more}

    def job(self, *arguments: str, **more: str) -> tuple[int, list[str]]:
        """Run a job; return its status and its lines."""
        status, output = forks.trainer.run(self.command(*arguments), self.environment(**more), timeout=240)
        return status, output.splitlines()

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Run a job in a process of its own; return its status and its lines."""
        command = [sys.executable, "-m", "trainers", *self.command(*arguments)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    def read(self, name: str) -> str:
        return (self.outputs / "run" / name).read_text()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The bag of a detector as torchvision saves one, and its digest."""
    bag = tmp_path_factory.mktemp("model") / "crabs"
    return bag, write_bag(bag, {"model.json": FACTS.to_json(), FACTS.weights: random_weights()})


@pytest.fixture
def shore(tmp_path: Path, model: tuple[Path, str]) -> Shore:
    """A job with four images, of which one is broken."""
    shore = Shore(tmp_path, *model)
    (shore.data / "dive" / "2").mkdir(parents=True)
    for place, name in enumerate(("z.png", "dive/a.png", "dive/2/b.png")):
        (shore.data / name).write_bytes(png(80, 60, place))
    (shore.data / "broken.jpg").write_bytes(b"<html>404</html>")
    return shore


def other_model(shore: Shore, facts: ModelFacts, weights: bytes) -> Shore:
    bag = shore.root / "other"
    digest = write_bag(bag, {"model.json": facts.to_json(), facts.weights: weights})
    return Shore(shore.root, bag, digest)


def test_a_folder_of_images_is_enough(shore: Shore) -> None:
    """The model is verified, the images are found, and the run has results, tables, a record, a page and a manifest."""
    status, lines = shore.job("--set", "score=0.2")
    assert status == 0, lines
    results = json.loads(shore.read("predictions.json"))
    assert [image["file_name"] for image in results["images"]] == ["dive/2/b.png", "dive/a.png", "z.png"]
    assert {row["category_id"] for row in results["annotations"]} <= {3, 8}
    count = len(results["annotations"])
    assert count > 0
    assert lines[-1] == (f"PREDICTION OK run {count:,} detections in 3 images; 1 broken image left out, see images.csv")
    assert "model crabs@v1: verified, every byte: 2 files" in lines[0]
    with (shore.outputs / "run" / "images.csv").open(newline="") as file:
        images = list(csv.DictReader(file))
    assert [row["image"] for row in images] == ["broken.jpg", "dive/2/b.png", "dive/a.png", "z.png"]
    assert sum(int(row["detections"] or 0) for row in images) == count
    record = json.loads(shore.read("run.json"))
    assert (record["outcome"], record["detections"], record["images_left_out"]) == ("ok", count, 1)
    assert record["versions"]["torch"]
    assert "This report holds no images of the data" in shore.read("report.html")
    run = shore.outputs / "run"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"], cwd=run, check=True)
    before = shore.read("predictions.json")
    assert shore.job("--set", "score=0.2", "--set", "batch_size=1")[0] == 0
    again = json.loads(shore.read("predictions.json"))
    assert len(again["annotations"]) == count, before


def test_a_changed_weight_is_refused_before_torch_is_imported(shore: Shore, model: tuple[Path, str]) -> None:
    """Status 3, the file's name, and Python never imports torch."""
    bag = shore.root / "changed"
    subprocess.run(["cp", "-r", model[0], bag], check=True)
    content = bytearray((bag / "data" / FACTS.weights).read_bytes())
    content[len(content) // 2] ^= 1
    (bag / "data" / FACTS.weights).write_bytes(content)
    changed = Shore(shore.root, bag, shore.digest)
    command = [sys.executable, "-X", "importtime", "-m", "trainers", *changed.command()]
    done = subprocess.run(command, env=changed.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].startswith(
        f"PREDICTION FAILED: {bag}: the model does not match the manifest that this image names: found 1 changed"
    )
    assert f"changed  data/{FACTS.weights}" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "trainers.dataset.model_bag" in imported
    assert not {name for name in imported if name.partition(".")[0] in {"torch", "torchvision", "tensorflow"}}
    assert not (changed.outputs / "run").exists()


def test_no_images_is_one_line(shore: Shore) -> None:
    """The run has no folder, since nothing was done."""
    for path in [*shore.data.rglob("*.png"), shore.data / "broken.jpg"]:
        path.unlink()
    status, lines = shore.job()
    assert status == 2
    assert lines[-1].startswith(f"PREDICTION FAILED: {shore.data}: there are no images: expected files that end with")
    assert not (shore.outputs / "run").exists()


def test_only_broken_images_is_a_failure(shore: Shore) -> None:
    """Each is named, and nothing is there that looks like a result: nor what an earlier job of this name has found."""
    (shore.outputs / "run").mkdir()
    for name in ("predictions.json", "counts.csv", "image_counts.csv", "images.csv", "report.html", "notes.txt"):
        (shore.outputs / "run" / name).write_text("of an earlier job")
    for path in shore.data.rglob("*.png"):
        path.write_bytes(b"no image")
    status, lines = shore.job()
    assert status == 1
    assert lines[-1] == f"PREDICTION FAILED: {shore.data}: none of the 4 images can be used"
    assert "  broken.jpg: can't be decoded: not an image in a known format" in "\n".join(lines)
    assert json.loads(shore.read("run.json"))["outcome"] == "failed"
    names = {path.name for path in (shore.outputs / "run").iterdir()}
    assert names == {"run.json", "log.txt", "manifest-sha256.txt", "notes.txt"}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (ModelFacts("yolo", "w.pth", ((1, "a"),)), "the trainers in this image do not know this model"),
        (ModelFacts("fcos_resnet50_fpn", "w.pth"), "nothing says what the categories of this model are"),
        (ModelFacts("fcos_resnet50_fpn", "w.pth", ((1, "a"),), min_size=90, max_size=80), "no size for images"),
        (ModelFacts("fcos_resnet50_fpn", "w.pth", ((1, "a"),)), "can't read the weights"),
    ],
)
def test_a_model_that_this_image_can_t_run_is_one_line(shore: Shore, facts: ModelFacts, why: str) -> None:
    """An unknown architecture, missing categories, sizes that contradict each other, weights that are none."""
    status, lines = other_model(shore, facts, b"weights").job()
    assert status in {1, 2}
    assert lines[-1].startswith("PREDICTION FAILED: ")
    assert why in lines[-1]
    assert "bug" not in lines[-1]


def test_an_image_without_the_framework_of_the_model_says_so(shore: Shore) -> None:
    """A PyTorch model on a base without PyTorch is one clear line."""
    (shore.root / "without" / "torch").mkdir(parents=True)
    missing = "raise ModuleNotFoundError('none here', name='torch')"
    (shore.root / "without" / "torch" / "__init__.py").write_text(missing)
    path = f"{shore.root / 'without'}:{PROJECT}"
    command = [sys.executable, "-m", "trainers", *shore.command()]
    done = subprocess.run(command, env=shore.environment(PYTHONPATH=path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a package is missing: found no torch; use an image with PyTorch" in done.stdout.splitlines()[-1]


def test_weights_of_another_model_do_not_fit(shore: Shore, model: tuple[Path, str]) -> None:
    """The tensors of one detector are not those of another, nor those of other categories."""
    weights = (model[0] / "data" / FACTS.weights).read_bytes()
    for facts in (
        ModelFacts("fcos_resnet50_fpn", "w.pth", FACTS.categories),
        ModelFacts(FACTS.architecture, "w.pth", (*FACTS.categories, (9, "more"))),
    ):
        status, lines = other_model(shore, facts, weights).job()
        assert status == 2
        assert "the weights do not fit" in lines[-1] or "does not fit its categories" in lines[-1]


def test_sigterm_says_how_far_it_came(shore: Shore) -> None:
    """Status 75 and the number of images done; the same job again starts cleanly."""
    for place in range(400):  # so many that a fast machine shows the progress too
        (shore.data / f"more-{place}.png").write_bytes(png(80, 60, place))
    command = [sys.executable, "-m", "trainers", *shore.command("--set", "batch_size=1")]
    process = subprocess.Popen(command, env=shore.environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "running the detector" in line:
            process.send_signal(signal.SIGTERM)
    assert process.wait() == 75, lines
    assert "stopped by SIGTERM after " in lines[-1]
    assert "of 403 images; run the same job again: it starts from the first image" in lines[-1]
    assert json.loads(shore.read("run.json"))["outcome"] == "stopped"
    status, again = shore.job("--set", "images=dive")
    assert status == 0, again
    assert json.loads(shore.read("run.json"))["outcome"] == "ok"


def test_settings_that_are_missing_are_called_what_they_are(shore: Shore) -> None:
    """Whoever names a file that is not there is not told to write a train.yml."""
    status, lines = shore.job("--config", str(shore.data / "settings.yml"))
    assert status == 2, lines
    assert "settings.yml: there is no configuration; put a predict.yml there, or name another" in lines[-1]


def test_a_train_yml_alone_is_about_its_own_dataset(shore: Shore) -> None:
    """In a model's image, the other commands work as in any other; --set is only for predict without a train.yml."""
    arguments = ["check", "--config", str(shore.data / "train.yml"), "--outputs", str(shore.outputs)]
    _, output = forks.trainer.run(arguments, shore.environment(), timeout=60)
    assert "train.yml: there is no configuration" in output
    _, output = forks.trainer.run([*arguments, "--set", "device=cpu"], shore.environment(), timeout=60)
    assert "--set is for predict in a ready-to-run model" in output


def test_torchrun_is_refused(shore: Shore) -> None:
    """One process detects; with several there is one clear line."""
    places = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    status, lines = shore.job(**places)
    assert (status, lines[-1]) == (
        2,
        "PREDICTION FAILED: a ready-to-run model runs in one process; start it without torchrun",
    )


def as_safetensors(weights: bytes, metadata: dict[str, str] | None = None) -> bytes:
    import safetensors.torch
    import torch

    tensors = torch.load(io.BytesIO(weights), weights_only=True)
    return bytes(safetensors.torch.save(tensors, metadata))


def metadata(**changes: object) -> dict[str, str]:
    """Return what the trainers write into the weights of this model."""
    known: dict[str, Any] = {
        "framework": "pytorch",
        "name": FACTS.architecture,
        "categories": FACTS.categories,
        "min_size": 64,
        "max_size": 96,
        "reference": "reef@v1",
        "digest": "sha256:" + "0" * 64,
        "split": {},
    }
    return ModelInfo(**{**known, **changes}).to_metadata()


def test_the_model_of_a_run_says_itself_what_it_is(shore: Shore, model: tuple[Path, str]) -> None:
    """Categories and sizes come from the weights, where model.json has none; plain tensors need model.json."""
    weights = (model[0] / "data" / FACTS.weights).read_bytes()
    alone = ModelFacts(FACTS.architecture, "model.safetensors")
    status, lines = other_model(shore, alone, as_safetensors(weights, metadata())).job("--set", "score=0.2")
    assert status == 0, lines
    record = json.loads(shore.read("run.json"))["model"]
    assert (record["min_size"], record["max_size"], record["categories"]) == (64, 96, 2)
    status, lines = other_model(shore, alone, as_safetensors(weights)).job()
    assert (status, "nothing says what the categories of this model are" in lines[-1]) == (2, True)
    both = replace(FACTS, weights="model.safetensors")
    again, lines = other_model(shore, both, as_safetensors(weights)).job("--set", "score=0.2")
    assert again == 0, lines


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": "fcos_resnet50_fpn"}, "architecture"),
        ({"categories": ((3, "crab"), (8, "shark"))}, "categories"),
        ({"max_size": 1333}, "max_size"),
    ],
)
def test_a_model_json_that_contradicts_the_weights_is_refused(
    shore: Shore, changes: dict[str, object], what: str
) -> None:
    """It is one line, before a framework is loaded: a wrong size or category would give wrong results in silence."""
    header = json.dumps({"__metadata__": metadata(**changes)}).encode()
    content = len(header).to_bytes(8, "little") + header
    status, lines = other_model(shore, replace(FACTS, weights="model.safetensors"), content).job()
    assert status == 2
    assert f"model.json and the weights disagree about the {what}" in lines[-1]


@pytest.mark.parametrize("content", [b"\xff" * 7 + b"\x7f{", b"\x02\0\0\0\0\0\0\0{}more", b"\x10\0\0\0\0\0\0\0{"])
def test_damaged_weights_are_one_line(shore: Shore, content: bytes) -> None:
    """A header of exabytes, bytes that belong to no tensor, a header that is cut off."""
    status, lines = other_model(shore, replace(FACTS, weights="model.safetensors"), content).job()
    assert status == 2
    assert lines[-1].startswith("PREDICTION FAILED: ")
    assert "bug" not in lines[-1]
