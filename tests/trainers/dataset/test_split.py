"""The split is seeded and stratified, and keeps sequences together."""

import json

import numpy as np
import pytest

from tests.trainers.havens import REEF
from trainers.dataset import split as splitting
from trainers.dataset.coco_file import parse_coco
from trainers.dataset.split import sequences_of, split
from trainers.errors import TrainingError


def dives(folders: int, frames: int, categories: int = 4):
    """Make a list of dives; each shows two categories of animals on all of its frames."""
    images, boxes = [], []
    for dive in range(folders):
        for frame in range(frames + dive % 3):
            number = len(images)
            url = f"https://example.org/framegrabs/Doc%20Ricketts/images/{dive:04}/{frame}.png"
            images.append({"id": number, "file_name": f"{number}.png", "width": 9, "height": 9, "coco_url": url})
            shown = (dive % categories, (dive + 1) % categories)
            boxes += [{"image_id": number, "category_id": category, "bbox": [1, 1, 5, 5]} for category in shown]
    rows = [{"id": category, "name": str(category)} for category in range(categories)]
    content = {"images": images, "annotations": boxes, "categories": rows}
    return parse_coco(json.dumps(content).encode(), "train.json")


def test_frames_of_one_dive_are_on_one_side():
    """No folder of URLs has images on both sides, and every image is on exactly one."""
    coco = dives(folders=30, frames=7)
    parts = split(coco, 0.2, seed=0)
    folders = [url.rpartition("/")[0] for url in coco.urls]
    assert not {folders[i] for i in parts.train} & {folders[i] for i in parts.validation}
    assert sorted([*parts.train, *parts.validation]) == list(range(len(coco)))
    assert parts.sequences == 30


@pytest.mark.parametrize("seed", range(5))
def test_each_category_has_its_share(seed):
    """Each category, and the images, have about the configured share in validation."""
    coco = dives(folders=40, frames=6)
    parts = split(coco, 0.25, seed)
    share = np.bincount(coco.keep(parts.validation).labels, minlength=5)[1:] / np.bincount(coco.labels)[1:]
    assert np.abs(share - 0.25).max() < 0.1
    assert abs(len(parts.validation) / len(coco) - 0.25) < 0.05


def test_a_rare_category_is_on_both_sides():
    """A category in two dives is on both sides; otherwise nobody could tell how well it is detected."""
    coco = dives(folders=24, frames=5, categories=12)
    parts = split(coco, 0.2, seed=3)
    for part in parts.train, parts.validation:
        assert set(coco.keep(part).labels) == set(range(1, 13))


def test_the_seed_determines_the_split():
    """The same seed gives the same split, another seed another one."""
    coco = dives(folders=30, frames=5)
    first = split(coco, 0.2, 1)
    assert (split(coco, 0.2, 1).validation == first.validation).all()
    assert not np.array_equal(split(coco, 0.2, 2).validation, first.validation)


def test_without_urls_each_image_is_a_sequence():
    """The reef has no URLs: its 72 images are 72 sequences."""
    coco = parse_coco((REEF / "train.json").read_bytes(), "train.json")
    assert len(set(sequences_of(coco))) == 72


def test_a_single_url_folder_is_not_a_sequence():
    """If all URLs are in one folder, its images are not one sequence."""
    assert len(set(sequences_of(dives(folders=1, frames=9)))) == 9


def test_sequences_can_be_ignored():
    """`sequences: none` splits image by image."""
    assert split(dives(folders=4, frames=9), 0.5, 0, by_sequence=False).sequences > 30


def test_an_impossible_split_is_refused():
    """A single image, or a list without boxes, can't be split."""
    with pytest.raises(TrainingError, match="at least two sequences"):
        split(dives(folders=1, frames=1), 0.2, 0)
    with pytest.raises(TrainingError, match="0 boxes"):
        split(parse_coco(b'{"images": []}', "x"), 0.2, 0)


def test_many_sequences_take_seconds(monkeypatch):
    """Of 320,000 images without URLs one order is tried, not 64; up to 5,000 sequences get all of them."""
    tried = []
    deal = splitting._deal
    monkeypatch.setattr(splitting, "_deal", lambda *arguments: tried.append(1) or deal(*arguments))
    split(dives(folders=60, frames=1), 0.2, seed=0)
    assert len(tried) == 64
    tried.clear()
    monkeypatch.setattr(splitting, "_STEPS", 600)
    split(dives(folders=60, frames=1), 0.2, seed=0)
    assert len(tried) == 10
    tried.clear()
    monkeypatch.setattr(splitting, "_STEPS", 1)
    assert len(split(dives(folders=60, frames=1), 0.2, seed=0).validation)
    assert len(tried) == 1
