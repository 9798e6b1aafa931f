"""``drop`` leaves out what findings of the check concern: boxes, images with their rows, or files."""

import json

import pytest
from PIL import Image

from tests.sea import Sea, make_sea, names, read


@pytest.fixture
def sea(tmp_path) -> Sea:
    """A catalog whose list has faults: a box that is there twice, one outside its image, two identical images."""
    sea = make_sea(tmp_path / "catalog")
    path = sea.root / "source/train.json"
    whole = json.loads(path.read_text())
    boxes = whole["annotations"]
    assert boxes[0]["id"] == 1
    boxes.insert(3, {**boxes[0], "id": 1001})
    boxes.append({**boxes[5], "id": 1002, "bbox": [500.0, 500.0, 4.0, 4.0]})
    path.write_text(json.dumps(whole))
    folder = sea.root / "source/images/train"
    (folder / "train 7.png").write_bytes((folder / "train 2.png").read_bytes())
    sea.ok("fetch", "sea@v1")
    return sea


def ids(payload) -> set[int]:
    return {box["id"] for box in read(payload, "train.json")["annotations"]}


def test_boxes_go_and_their_images_stay(sea):
    """Of a box that is there twice one stays; all other boxes stay."""
    reference = sea.add("part", {"subset": "sea@v1", "drop": ["DP309", "DP310"]})
    notes = sea.notes(reference)
    assert "DP309 leaves out 1 box: duplicate boxes" in notes
    assert "DP310 leaves out 1 box: boxes outside their image" in notes
    assert ids(sea.payload("sea@v1")) - ids(sea.payload(reference)) == {1001, 1002}
    assert len(names(sea.payload(reference))) == 30


def test_images_go_with_their_rows_and_boxes(sea):
    """Of identical images one stays."""
    payload = sea.derive({"subset": "sea@v1", "drop": ["DP323"]})
    gone = {f"train {number}.png" for number in range(30)} - set(names(payload))
    assert gone in ({"train 2.png"}, {"train 7.png"})
    assert not (payload / "images/train" / gone.pop()).exists()


def test_images_without_boxes_go(sea):
    """Those of a list that has boxes; a list without any is another matter."""
    payload = sea.derive({"subset": "sea@v1", "drop": ["DP319"]})
    whole = read(sea.payload("sea@v1"), "train.json")
    labelled = {box["image_id"] for box in whole["annotations"]}
    assert [row["id"] for row in read(payload, "train.json")["images"]] == [
        row["id"] for row in whole["images"] if row["id"] in labelled
    ]
    assert len(names(payload, "eval.json")) == 30


def test_files_go(sea):
    """A list that can't be read goes as a file, and the rest can be cut."""
    (sea.root / "source/broken.json").write_text('{"images": [{"id": 1, "file_name": "train 1.png"}, ')
    sea.ok("fetch", "--refresh", "--update-lock", "sea@v1")
    assert "the COCO file broken.json can't be cut" in sea.refuses({"subset": "sea@v1", "count": 3})
    payload = sea.derive({"subset": "sea@v1", "count": 3, "drop": ["DP300"]})
    assert not (payload / "broken.json").exists()
    assert (payload / "README.md").exists()


def test_what_only_pixels_show_is_looked_for_in_them(sea):
    """A code of ``check --deep`` decodes the images: here all but one are of one colour."""
    Image.effect_noise((43, 30), 90).save(sea.root / "source/images/train/train 3.png")
    sea.ok("fetch", "--refresh", "--update-lock", "sea@v1")
    payload = sea.derive({"subset": "sea@v1", "drop": ["DP225"]})
    assert names(payload) == ["train 3.png"]
    assert not (payload / "eval.json").exists()


def test_a_split_drops_too(sea):
    """What is dropped is in no part."""
    payload = sea.derive({"split": "sea@v1", "coco": "train.json", "ratios": {"a": 0.5, "b": 0.5}, "drop": ["DP310"]})
    boxes = {box["id"] for part in "ab" for box in read(payload, f"{part}.json")["annotations"]}
    assert boxes == ids(sea.payload("sea@v1")) - {1002}


def test_it_does_not_depend_on_what_the_other_version_silences(sea):
    """A finding that the catalog accepts there is dropped here all the same."""
    first = sea.derive({"subset": "sea@v1", "drop": ["DP310"]})
    sea.add("sea", {"local": "source"}, silence={"DP310": "accepted"})
    second = sea.derive({"subset": "sea@v1", "drop": ["DP310"]}, name="other")
    assert (first / "train.json").read_bytes() == (second / "train.json").read_bytes()


def test_a_finding_that_is_not_there_drops_nothing(sea):
    """The note says so, and the version is made."""
    assert "DP312 finds nothing to drop" in sea.notes(sea.add("part", {"subset": "sea@v1", "drop": ["DP312"]}))


def test_what_concerns_no_file_and_no_box_can_not_be_dropped(sea):
    """Categories without boxes are a fact of the list."""
    error = sea.refuses({"subset": "sea@v1", "drop": ["DP320"]})
    assert "DP320 can't be dropped: it concerns no file and no box: found categories without boxes" in error


def test_an_unknown_code_has_a_suggestion(sea):
    """It is found when the catalog is read."""
    assert "drop[0]: no finding has this code" in sea.refuses({"subset": "sea@v1", "drop": ["DP399"]}, status=2)
