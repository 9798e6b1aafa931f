"""The reef: the files that ship are what the script draws, and the COCO file says exactly what is in them."""

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
    """The script as a module; `animals`, which it imports, lies beside it."""
    sys.path.insert(0, str(REEF))
    try:
        yield importlib.import_module("draw")
    finally:
        sys.path.remove(str(REEF))


@pytest.fixture(scope="module")
def drawn(script):
    """Every picture, drawn anew, with its animals."""
    return {number: script.draw(number) for number in range(1, script.PICTURES + 1)}


@pytest.fixture(scope="module")
def coco():
    """The COCO file that ships."""
    return json.loads((REEF / "train.json").read_text())


def test_the_script_draws_the_files_that_ship(script, drawn):
    """The COCO file is the same text, and each picture has the same pixels; PNG's bytes depend on the zlib at hand."""
    assert script.coco(drawn) == (REEF / "train.json").read_text()
    assert sorted(path.name for path in (REEF / "images").iterdir()) == sorted(map(script.name, drawn))
    for number, (image, _) in drawn.items():
        with Image.open(REEF / "images" / script.name(number)) as shipped:
            assert shipped.mode == "RGB"
            assert np.array_equal(shipped, image), script.name(number)


def test_every_box_is_tight_and_inside(drawn, coco):
    """Each box's four sides touch the animal, nothing of it is outside, and its area is the number of its pixels."""
    masks = [(number, animal) for number, (_, animals) in drawn.items() for animal in animals]
    assert len(masks) == len(coco["annotations"])
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for row, (number, animal) in zip(coco["annotations"], masks, strict=True):
        assert (row["image_id"], names[row["category_id"]]) == (number, animal.kind)
        x, y, width, height = map(int, row["bbox"])
        inside = animal.mask[y : y + height, x : x + width]
        assert inside.shape == (height, width)
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert inside.sum() == animal.mask.sum() == row["area"]


def test_no_two_boxes_of_a_picture_overlap(coco):
    """Each animal is seen whole, so that its box is right."""
    for image in coco["images"]:
        seen = np.zeros((image["height"], image["width"]), dtype=int)
        for row in coco["annotations"]:
            if row["image_id"] == image["id"]:
                x, y, width, height = map(int, row["bbox"])
                seen[y : y + height, x : x + width] += 1
        assert seen.max() <= 1


def test_the_file_is_consistent(coco):
    """Ids are unique, every reference leads somewhere, every category is used, and sizes are those of the pictures."""
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
    """Enough pictures of several sizes, some empty, at most five animals each, and none too small to be seen."""
    animals = Counter(row["image_id"] for row in coco["annotations"])
    assert len(coco["images"]) >= 60
    assert len({(image["width"], image["height"]) for image in coco["images"]}) == 3
    assert max(animals.values()) <= 5
    assert sum(image["id"] not in animals for image in coco["images"]) == 8
    assert min(min(row["bbox"][2:]) for row in coco["annotations"]) >= 20
    assert min(Counter(row["category_id"] for row in coco["annotations"]).values()) >= 40


def test_it_is_small_enough_to_ship():
    """The whole folder is below 3 MB, the contact sheet in its README below 200 kB."""
    files = [path for path in REEF.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert (REEF / "contact-sheet.png").stat().st_size < 200_000


def test_the_catalog_names_it():
    """reef@v1 is made of the COCO file and the pictures, and of nothing else."""
    entry = Catalog.read(ROOT / "datasets.yml").entry(Reference("reef", "v1"))
    assert [source.local for source in entry.sources] == ["examples/reef/train.json", "examples/reef/images"]
    assert all((ROOT / source.local).exists() for source in entry.sources)
    assert entry.dataset.licence == "CC0-1.0"
    assert not entry.dataset.private
