"""A split divides the images of another version into parts that never share a sequence."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.fetch.derived.parts import Counts, divide
from tests.sea import Sea, below, image_rows, make_sea, names, place, read

RATIOS = {"train": 0.6, "val": 0.2, "test": 0.2}


@pytest.fixture(scope="module")
def sea_once(tmp_path_factory) -> Sea:
    sea = make_sea(tmp_path_factory.mktemp("sea") / "catalog")
    sea.ok("fetch", "sea@v1")
    return sea


@pytest.fixture
def sea(sea_once, tmp_path) -> Sea:
    """The catalog, whose dataset is fetched."""
    return sea_once.copy(tmp_path / "catalog")


def dives(payload, part) -> set[str]:
    return {row["coco_url"].split("/")[-2] for row in read(payload, f"{part}.json")["images"]}


def test_the_parts_are_whole_sequences_and_all_images(sea):
    """Each part has its list; images stay where they are, as links; other lists and their images are left out."""
    payload = sea.derive({"split": "sea@v1", "coco": "train.json", "ratios": RATIOS})
    parts = {part: names(payload, f"{part}.json") for part in RATIOS}
    assert {part: len(images) for part, images in parts.items()} == {"train": 20, "val": 5, "test": 5}
    images = [name for part in parts.values() for name in part]
    assert sorted(images) == sorted(row["file_name"] for row in image_rows("train", 0))
    assert sum(len(dives(payload, part)) for part in RATIOS) == 6
    lists = {f"{part}.json" for part in RATIOS}
    assert below(payload) == {"README.md", *lists, *(f"images/train/{name}" for name in images)}
    path = f"images/train/{images[0]}"
    assert place(payload / path) == place(sea.payload("sea@v1") / path)
    whole = read(sea.payload("sea@v1"), "train.json")
    boxes = [box for part in RATIOS for box in read(payload, f"{part}.json")["annotations"]]
    assert sorted(box["id"] for box in boxes) == [box["id"] for box in whole["annotations"]]
    assert all(read(payload, name)["categories"] == whole["categories"] for name in lists)


def test_the_note_says_what_was_reached(sea):
    """The shares that were reached, and the categories that a part lacks."""
    reference = sea.add("part", {"split": "sea@v1", "coco": "train.json", "ratios": RATIOS})
    notes = sea.notes(reference)
    assert "train.json 20 images (66.7% for 60%), val.json 5 images (16.7% for 20%)" in notes
    assert "; 6 sequences; a category's share of boxes is" in notes
    assert "1 of 5 categories are not in every part, such as animal 7 (not in" in notes


def test_another_seed_makes_another_split(sea):
    """The same seed makes the same split, whatever the version is called."""
    source = {"split": "sea@v1", "coco": "train.json", "ratios": RATIOS}
    found = [dives(sea.derive({**source, **keys}, name=name), "test") for name, keys in (("a", {}), ("b", {}))]
    assert found[0] == found[1]
    others = [dives(sea.derive({**source, "seed": seed}, name=f"s{seed}"), "test") for seed in range(1, 6)]
    assert any(other != found[0] for other in others)


def test_images_without_a_sequence_are_divided_one_by_one(sea):
    """So are all with ``by: image``; the other version then needs one list, which needs no name."""
    source = {"split": "sea@v1", "coco": "eval.json", "ratios": {"a": 0.5, "b": 0.5}, "by": "image", "into": "x"}
    payload = sea.derive(source)
    assert [len(names(payload, f"x/{part}.json")) for part in "ab"] == [15, 15]
    again = sea.derive({"split": "part@v1", "coco": "x/a.json", "ratios": {"c": 0.8, "d": 0.2}}, name="again")
    assert len(names(again, "x/c.json")) + len(names(again, "x/d.json")) == 15  # beside the list that is divided


def test_a_part_may_have_the_name_of_the_list_it_is_from(sea):
    """``train.json`` becomes the list of the part ``train``; other files with a part's name give way."""
    (sea.root / "source/val.json").write_text('{"about": "no list"}')
    sea.ok("fetch", "--refresh", "--update-lock", "sea@v1")
    payload = sea.derive({"split": "sea@v1", "coco": "train.json", "ratios": {"train": 0.8, "val": 0.2}})
    assert len(names(payload, "train.json")) + len(names(payload, "val.json")) == 30


def few_images(sea: Sea, number: int) -> str:
    whole = json.loads((sea.root / "source/train.json").read_text())
    whole["images"] = whole["images"][:number]
    folder = sea.root / f"few{number}"
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps(whole))
    for row in whole["images"]:
        (folder / row["file_name"]).hardlink_to(sea.root / "source/images/train" / row["file_name"])
    return sea.add(f"few{number}", {"local": f"few{number}"})


@pytest.mark.parametrize(
    ("number", "keys", "message"),
    [
        (5, {}, "1 sequence can't be divided into 3 parts; use 'by: image', or fewer parts"),
        (1, {"by": "image"}, "1 image can't be divided into 3 parts; use fewer parts"),
        (1, {}, "1 sequence can't be divided into 3 parts"),
    ],
)
def test_a_part_is_never_empty(sea, number, keys, message):
    """One image, or one sequence, can't be divided."""
    assert message in sea.refuses({"split": few_images(sea, number), "ratios": RATIOS, **keys})


def test_which_list_must_be_clear(sea):
    """A version with several lists, and one with none."""
    assert "sea@v1 has several COCO files: found eval.json, train.json; choose one with 'coco:'" in sea.refuses(
        {"split": "sea@v1", "ratios": RATIOS}
    )
    sea.add("plain", {"local": "source/images"})
    assert "plain@v1 has no COCO file" in sea.refuses({"split": "plain@v1", "ratios": RATIOS}, name="none")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ratios": {"train": 0.8, "val": 0.1}}, "ratios: the ratios must add up to 1: found 0.9"),
        ({"ratios": {"train": 80, "val": 20}}, "at most 1"),
        ({"ratios": {"train": 1.0}}, "a split needs at least two parts"),
        ({"ratios": {"train": 1.0, "val": 0}}, "ratios"),
        ({"ratios": {"Train": 0.5, "val": 0.5}}, "lower-case letters, digits"),
        ({"ratios": {}}, "at least"),
        ({}, "missing key 'ratios'"),
        ({"ratios": RATIOS, "by": "dive"}, "expected 'sequence' or 'image'"),
    ],
)
def test_mistakes_are_found_when_the_catalog_is_read(sea, keys, message):
    """Ratios that do not add up, and everything else that can't be."""
    assert message in sea.refuses({"split": "sea@v1", **keys}, status=2)


@settings(deadline=None, max_examples=200)
@given(
    groups=st.lists(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=6), min_size=3, max_size=40),
    ratios=st.lists(st.integers(1, 20), min_size=2, max_size=3),
    seed=st.integers(0, 3),
)
def test_parts_are_complete_and_never_empty(groups, ratios, seed):
    """Each group has one part; the order of the groups does not matter; every part has at least one."""
    shares = {f"part{number}": ratio / sum(ratios) for number, ratio in enumerate(ratios)}

    def run(order):
        images = [(number, boxes) for number, at in enumerate(order) for boxes in groups[at]]
        boxes = [(number, label) for number, labels in images for label in labels]
        counts = Counts.of(
            np.array([number for number, _ in images]),
            np.array([number for number, _ in boxes], np.int64),
            np.array([label for _, label in boxes], np.int64),
        )
        parts = divide(counts, [f"group {at}" for at in order], shares, seed)
        return dict(zip(order, parts.tolist(), strict=True))

    found = run(range(len(groups)))
    assert set(found.values()) == set(range(len(ratios)))
    assert run(range(len(groups) - 1, -1, -1)) == found


def test_shares_are_close_where_they_can_be():
    """Of 300 sequences with rare and common categories, each part gets its share of images and of each category."""
    chance = np.random.default_rng(1)
    sizes = chance.integers(1, 60, 300)
    of_images = np.repeat(np.arange(300), sizes)
    boxes = np.repeat(of_images, 3)
    labels = np.minimum(chance.exponential(4, len(boxes)).astype(int) + boxes % 3, 17)
    ratios = {"train": 0.8, "val": 0.1, "test": 0.1}
    parts = divide(Counts.of(of_images, boxes, labels), [str(at) for at in range(300)], ratios, 0)
    images = Counter(parts[of_images].tolist())
    for part, ratio in enumerate(ratios.values()):
        assert images[part] / len(of_images) == pytest.approx(ratio, abs=0.01)
        for label in range(18):
            of_label = parts[boxes[labels == label]]
            assert (of_label == part).mean() == pytest.approx(ratio, abs=0.04 if len(of_label) > 100 else 0.1)
