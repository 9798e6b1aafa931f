"""What a version of `kind: model` is: `list`, `show`, `plan`, `diff` and `report` say so."""

import json
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import Catalog, make_base
from tests.training_runs import DIGEST, write_run

HOSTILE = "crab \u202e<script>alert(1)</script>"
CATALOG = f"""\
defaults: {{base: "oci:base"}}
datasets:
  net:
    kind: model
    title: A net
    licence: MIT
    versions:
      v1:
        model:
          architecture: fcos_resnet50_fpn
          categories: [fish, N/A, {json.dumps(HOSTILE.replace(chr(0x202E), "<b>"))}]
          trained_on: COCO 2017
          metrics: {{mAP: 0.392}}
          card: README.md
        sources:
          - local: net
      v2:
        sources:
          - run: runs/r1
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    """A catalog with a model from a file, which is fetched, and one from a run, which is not."""
    root = tmp_path_factory.mktemp("models") / "catalog"
    (root / "net").mkdir(parents=True)
    make_base(root / "base")
    (root / "datasets.yml").write_text(CATALOG)
    tensors = {f"backbone.layer{number}.conv.weight": np.zeros((8, 8), np.float32) for number in range(80)}
    save_file({**tensors, "head.bias": np.zeros(3, np.float16)}, root / "net/net.safetensors")
    (root / "net/README.md").write_text("# A card\n<script>alert(2)</script>\n" + "x" * 30_000)
    write_run(root / "runs/r1", model={"categories": [[2, HOSTILE], [5, "fish"]]})
    catalog = Catalog(root)
    catalog.ok("fetch", "net@v1")
    return catalog


def test_list_says_what_each_model_is(catalog):
    """A line below the title, in which N/A is no category; a run that is not fetched yet has not said it."""
    lines = catalog.ok("list").splitlines()
    assert "  model: fcos_resnet50_fpn, 2 categories, trained on COCO 2017, mAP 0.392" in lines
    assert "  model: known once it is fetched" in lines
    one, two = json.loads(catalog.ok("list", "--json"))["versions"]
    assert (one["kind"], two["kind"]) == ("model", "model")
    assert one["model"]["architecture"] == "fcos_resnet50_fpn"
    assert one["model"]["trained_on"] == {"reference": None, "digest": None, "text": "COCO 2017"}
    assert two["model"] is None


def test_show_has_every_fact(catalog):
    """A row for each fact that is known, and the same as JSON."""
    text = catalog.ok("show", "net@v1")
    assert re.search(r"^model +fcos_resnet50_fpn$", text, re.MULTILINE)
    assert re.search(r"^weights +net.safetensors$", text, re.MULTILINE)
    assert re.search(r"^trained on +COCO 2017$", text, re.MULTILINE)
    assert re.search(r"^card +README.md$", text, re.MULTILINE)
    assert "input" not in text
    shown = json.loads(catalog.ok("show", "net@v1", "--json"))["catalog"]
    assert shown["model"]["weights"] == "net.safetensors"
    assert shown["model"]["metrics"] == {"mAP": 0.392}


def test_plan_says_what_will_be_built(catalog):
    """Before a run is fetched, only that it is a model; the files of the run are counted."""
    assert "  model: fcos_resnet50_fpn, 2 categories" in catalog.ok("plan", "net@v1")
    planned = catalog.ok("plan", "net@v2")
    assert "  model: known once it is fetched" in planned
    assert re.search(r"run runs/r1 +3 ", planned)
    assert "nothing over a network" in planned
    assert json.loads(catalog.ok("plan", "net@v1", "--json"))["versions"][0]["model"].startswith("fcos_resnet50_fpn")


def test_diff_says_how_models_differ(catalog, tmp_path):
    """Beside the files, each fact that is another one."""
    both = catalog.copy(tmp_path / "catalog")
    both.ok("fetch", "net@v2")
    lines = both.ok("diff", "net@v1", "net@v2").splitlines()
    assert "model       fcos_resnet50_fpn -> fasterrcnn_resnet50_fpn" in lines
    assert f"trained on  COCO 2017 -> reef@v1 {DIGEST}" in lines
    assert "metrics     mAP 0.392 -> mAP 0.412, mAP50 0.703" in lines
    assert any(line.startswith("categories  2: fish, crab") and "\\u202e" in line for line in lines)
    models = json.loads(both.ok("diff", "net@v1", "net@v2", "--json"))["models"]
    assert models["to"]["trained_on"]["reference"] == "reef@v1"


def test_the_page_of_a_model(catalog, tmp_path):
    """Facts, metrics, tensors by layer and the card; nothing in it is markup, and it stays small."""
    both = catalog.copy(tmp_path / "catalog")
    both.ok("report", "net@v1")
    page = (both.root / "dist/net-v1.report.html").read_text()
    assert '<section id="model">' in page
    assert "81 tensors with 5,123 numbers, 20.5 kB: F32 (80), F16 (1)." in page
    assert "And 21 smaller groups." in page
    assert "<dt>Numbers</dt><dd>5,123</dd>" in page
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "And more: the whole card is in the data." in page
    assert 'id="boxes"' not in page
    shutil.rmtree(both.root / "net")
    again = both.root / "again.html"
    both.ok("report", "net@v1", "--output", str(again))
    assert again.read_text() == page


def test_the_page_of_a_run_shows_a_direction_character(catalog, tmp_path):
    """A category's name comes from another machine."""
    both = catalog.copy(tmp_path / "catalog")
    both.ok("fetch", "net@v2")
    both.ok("report", "net@v2")
    page = (both.root / "dist/net-v2.report.html").read_text()
    assert "\u202e" not in page
    assert "<script>alert" not in page
    assert f"reef@v1 {DIGEST}" in page


def test_a_model_can_be_made_again_of_its_files(catalog, tmp_path):
    """Files beside the catalog are a copy of it, as datapack can write `model.json` again; changed files are none."""
    both = catalog.copy(tmp_path / "catalog")
    (both.root / "net/README.md").write_text("changed")
    assert "net@v1" in both.fails("remove", "net@v1", "--yes")
    both = catalog.copy(tmp_path / "other")
    both.ok("remove", "net@v1", "--yes")
    assert not (both.root / "data/net/v1").exists()
    both.ok("fetch", "net@v1")
