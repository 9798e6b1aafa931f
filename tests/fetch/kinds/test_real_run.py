"""A run that the trainers really left becomes a model: the record, the model and the manifest are theirs."""

import json
import subprocess
import sys

import pytest

from datapack.bag.model_facts import ModelFacts, TrainedOn
from tests.conftest import PROJECT, Catalog, make_base
from tests.trainers.havens import Haven, small_files

pytestmark = pytest.mark.torch

PROGRAM = PROJECT / "tests/trainers/tiny_program.py"
CATALOG = """\
defaults: {base: "oci:base"}
datasets:
  net:
    kind: model
    title: A net
    licence: MIT
    versions:
      v1:
        model:
          trained_on: {dataset: reef@v1, digest: "DIGEST"}
          categories: {1: crab, 2: fish}
        sources:
          - run: safe_outputs/run
"""


def test_a_tiny_training_becomes_a_model(tmp_path):
    """What is built carries the facts that the training recorded; other data than the catalog's is refused."""
    haven = Haven(tmp_path, small_files(6))
    haven.configure()
    command = [sys.executable, PROGRAM, *haven.command("train")[3:]]
    done = subprocess.run(command, env=haven.environment(RANK="0"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    make_base(tmp_path / "base")
    (tmp_path / "datasets.yml").write_text(CATALOG.replace("DIGEST", haven.digest))
    catalog = Catalog(tmp_path)
    catalog.ok("build", "net@v1")
    catalog.ok("verify", "net@v1")
    run = haven.outputs / "run"
    found = ModelFacts.parse((tmp_path / "data/net/v1/data/model.json").read_bytes(), "model.json")
    scores = json.loads((run / "coco_eval.json").read_text())["at100"]["all"]
    assert found.architecture == json.loads((run / "run.json").read_text())["model"]
    assert found.trained_on == TrainedOn(reference="reef@v1", digest=haven.digest)
    assert found.categories == ((1, "crab"), (2, "fish"))
    assert (found.min_size, found.max_size) == (48, 64)
    assert found.metrics == {"mAP": scores["AP"], "mAP50": scores["AP50"]}
    names = {path.name for path in (tmp_path / "data/net/v1/data").iterdir()}
    assert names == {"coco_eval.json", "model.json", "model.safetensors", "run.json"}
    (tmp_path / "datasets.yml").write_text(CATALOG.replace("DIGEST", f"sha256:{'0' * 64}"))
    assert "trained_on does not match the run: expected reef@v1 sha256:0000" in catalog.fails("fetch", "net@v1")
