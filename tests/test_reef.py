"""The reef: the shipped files match the drawing script, and the COCO file describes them exactly."""

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datapack.catalog.model import Catalog
from datapack.reference import Reference

ROOT = Path(__file__).parents[1]
REEF = ROOT / "examples/reef"


@pytest.fixture(scope="module")
def script():
    """The script as a module; it imports `animals` from its own folder."""
    sys.path.insert(0, str(REEF))
    try:
        yield importlib.import_module("draw")
    finally:
        sys.path.remove(str(REEF))


@pytest.fixture(scope="module")
def drawn(script):
    """Every image, drawn again, with its animals."""
    return {number: script.draw(number) for number in range(1, script.IMAGES + 1)}


@pytest.fixture(scope="module")
def coco():
    """The shipped COCO file."""
    return json.loads((REEF / "train.json").read_text())


def test_the_script_draws_the_shipped_files(script, drawn):
    """The COCO file has the same text and each image the same pixels. PNG bytes may differ: they depend on zlib."""
    assert script.coco(drawn) == (REEF / "train.json").read_text()
    assert sorted(path.name for path in (REEF / "images").iterdir()) == sorted(map(script.name, drawn))
    for number, (image, _) in drawn.items():
        with Image.open(REEF / "images" / script.name(number)) as shipped:
            assert shipped.mode == "RGB"
            assert np.array_equal(shipped, image), script.name(number)


def test_every_box_is_tight_and_inside(drawn, coco):
    """All four sides of a box touch the animal, no pixel is outside, and the area is the number of pixels."""
    masks = [(number, animal) for number, (_, animals) in drawn.items() for animal in animals]
    assert len(masks) == len(coco["annotations"])
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for row, (number, animal) in zip(coco["annotations"], masks, strict=True):
        assert (row["image_id"], names[row["category_id"]]) == (number, animal.category)
        x, y, width, height = map(int, row["bbox"])
        inside = animal.mask[y : y + height, x : x + width]
        assert inside.shape == (height, width)
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert inside.sum() == animal.mask.sum() == row["area"]


def test_boxes_in_an_image_do_not_overlap(coco):
    """No animal hides another, so every box is correct."""
    for image in coco["images"]:
        seen = np.zeros((image["height"], image["width"]), dtype=int)
        for row in coco["annotations"]:
            if row["image_id"] == image["id"]:
                x, y, width, height = map(int, row["bbox"])
                seen[y : y + height, x : x + width] += 1
        assert seen.max() <= 1


def test_the_file_is_consistent(coco):
    """Ids are unique, all references resolve, every category is used, and sizes match the images."""
    assert list(coco) == ["info", "licenses", "images", "annotations", "categories"]
    for rows in (coco["images"], coco["annotations"], coco["categories"], coco["licenses"]):
        assert len({row["id"] for row in rows}) == len(rows)
    assert len({image["file_name"] for image in coco["images"]}) == len(coco["images"])
    assert {row["image_id"] for row in coco["annotations"]} < {image["id"] for image in coco["images"]}
    assert {row["category_id"] for row in coco["annotations"]} == {category["id"] for category in coco["categories"]}
    assert {image["license"] for image in coco["images"]} == {licence["id"] for licence in coco["licenses"]}
    for image in coco["images"]:
        with Image.open(REEF / "images" / image["file_name"]) as shipped:
            assert shipped.size == (image["width"], image["height"])


def test_a_detector_can_learn_from_it(coco):
    """There are enough images of several sizes, some empty; at most five animals each, none too small to see."""
    animals = Counter(row["image_id"] for row in coco["annotations"])
    assert len(coco["images"]) >= 60
    assert len({(image["width"], image["height"]) for image in coco["images"]}) == 3
    assert max(animals.values()) <= 5
    assert sum(image["id"] not in animals for image in coco["images"]) == 8
    assert min(min(row["bbox"][2:]) for row in coco["annotations"]) >= 20
    assert min(Counter(row["category_id"] for row in coco["annotations"]).values()) >= 40


def test_it_is_small_enough_to_ship():
    """The folder is below 3 MB, and the contact sheet in its README below 200 kB."""
    files = [path for path in REEF.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert (REEF / "contact-sheet.png").stat().st_size < 200_000


def test_the_catalog_names_it():
    """reef@v1 consists of the COCO file and the images, and nothing else."""
    entry = Catalog.read(ROOT / "datasets.yml").entry(Reference("reef", "v1"))
    assert [source.local for source in entry.sources] == ["examples/reef/train.json", "examples/reef/images"]
    assert all((ROOT / source.local).exists() for source in entry.sources)
    assert entry.dataset.licence == "CC0-1.0"
    assert not entry.dataset.private
