"""The files and the page of a prediction, from detections that are written down here."""

from __future__ import annotations

import csv
import json
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.trainers.havens import png
from trainers.dataset.folder import FolderPixels, find_images, measure
from trainers.report.prediction_page import PageFacts, choose_samples, image_facts, make_page
from trainers.report.predictions import Found, write_files
from trainers.run.folder import Run

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script>\u202e=cmd\n"
CATEGORIES = [(7, "crab"), (9, HOSTILE), (11, "=never")]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """Three images, of which one is broken; four detections, of which one has a low score and one is in the broken."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, content in (("a.png", png(40, 30)), ("b.png", png(40, 30)[:-700]), ("<b>.png", png(20, 20))):
        (folder / name).write_bytes(content)
    measured = measure(find_images(folder, print), 1, lambda _: None)
    pixels = FolderPixels(measured, 30, 40)
    for index in range(3):
        pixels.read(index)
    state = {
        "indices": np.array([0, 1, 2]),
        "counts": np.array([1, 2, 1]),
        "boxes": np.array([[0, 0, 10, 10], [1.004, 2, 11.5, 22], [0, 0, 5, 5], [0, 0, 9, 9]], np.float64),
        "labels": np.array([2, 1, 1, 1]),
        "scores": np.array([0.9, 0.8, 0.2, 0.99]),
    }
    return Found.of(measured, measured.coco(CATEGORIES), state, 0.5)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = Run(tmp_path / "run")
    folder.open()
    return folder


def rows(run: Run, name: str) -> list[dict[str, str]]:
    with run.path(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_results_are_coco(run: Run, found: Found) -> None:
    """COCO's own tools read the file: images with ids, categories, and annotations with scores."""
    write_files(run, found, {"model": "crabs@v1"})
    content = json.loads(run.path("predictions.json").read_bytes())
    assert content["info"] == {"model": "crabs@v1"}
    assert [image["file_name"] for image in content["images"]] == ["<b>.png", "a.png", "b.png"]
    assert content["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 9, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0, "score": 0.9},
        {"id": 2, "image_id": 2, "category_id": 7, "bbox": [1.0, 2, 10.5, 20], "area": 210, "iscrowd": 0, "score": 0.8},
    ]
    coco = COCO(str(run.path("predictions.json")))
    assert len(coco.loadRes(content["annotations"]).anns) == 2


def test_the_tables_count(run: Run, found: Found) -> None:
    """Detections by category, by image and category, and each image with its hash or what is wrong with it."""
    write_files(run, found, {})
    counts = [(row["category_id"], row["images"], row["detections"]) for row in rows(run, "counts.csv")]
    assert counts == [("7", "1", "1"), ("9", "1", "1"), ("11", "0", "0")]
    assert [row["image"] for row in rows(run, "image_counts.csv")] == ["<b>.png", "a.png"]
    first, second, third = rows(run, "images.csv")
    assert (first["width"], first["height"], first["detections"], first["problem"]) == ("20", "20", "1", "")
    assert (second["image"], second["detections"], len(second["sha256"])) == ("a.png", "1", 64)
    assert (third["detections"], third["problem"]) == ("", "can't be decoded: image file is truncated")


def test_a_table_holds_no_formula(run: Run, found: Found) -> None:
    """A name that a spreadsheet would take for a formula is written as text; line feeds stay in their cell."""
    write_files(run, found, {})
    names = [row["category"] for row in rows(run, "counts.csv")]
    assert names == ["crab", HOSTILE, "'=never"]


def page(found: Found, **values: Any) -> str:
    facts = PageFacts("run", [("Model", "crabs@v1")], image_facts(found, "/safe_data"), [], 0.5, "crabs@v1")
    return make_page(facts, found, [], **values)


def test_the_page_has_no_image_and_runs_nothing(found: Found) -> None:
    """Foreign names are text; no image of the data is in it; what was left out is named."""
    text = page(found)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text
    assert "This report holds no images of the data." in text
    assert "<img" not in text
    assert "b.png" in text
    assert "image file is truncated" in text


def test_images_only_if_they_are_asked_for(found: Found) -> None:
    """With samples, the images with the most detections are in the page, and it says so first."""
    samples = choose_samples(found, FolderPixels(found.measured, 30, 40))
    assert [sample.name for sample in samples] == ["<b>.png", "a.png"]
    text = page(found, samples=samples)
    assert text.count("<img") == 2
    assert "This report holds 2 images of the data" in text


def test_nothing_found_is_a_page_too(found: Found, run: Run) -> None:
    """Without a detection there is no plot, and the files are complete."""
    state = {name: np.zeros(0, np.int64) for name in ("indices", "counts", "labels", "scores")}
    nothing = Found.of(found.measured, found.coco, {**state, "boxes": np.empty((0, 4))}, 0.5)
    write_files(run, nothing, {})
    assert json.loads(run.path("predictions.json").read_bytes())["annotations"] == []
    assert "Nothing was found with a score of at least 0.5." in page(nothing)


def test_a_placeholder_is_no_category(found: Found) -> None:
    """Ids that have no category, as in COCO's list, are neither counted nor shown; the tables have them."""
    named = Found.of(
        found.measured,
        found.measured.coco([*CATEGORIES, (12, "N/A")]),
        {
            "indices": np.array([0]),
            "counts": np.array([1]),
            "boxes": np.zeros((1, 4)),
            "labels": np.array([1]),
            "scores": np.ones(1),
        },
        0.5,
    )
    text = page(named)
    assert "1 of 3" in text
    assert "N/A" not in text


def test_the_manifest_covers_everything(run: Run, found: Found) -> None:
    """What sha256sum checks are all files of the run."""
    write_files(run, found, {})
    run.seal()
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"], cwd=run.folder, check=True)
