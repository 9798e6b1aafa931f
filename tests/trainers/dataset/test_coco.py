"""COCO files: real ones with their oddities, and invalid ones."""

import json
import tracemalloc

import numpy as np
import pytest

from tests.trainers.havens import REEF
from trainers.dataset.coco_file import Cleaned, parse_coco
from trainers.errors import TrainingError

IMAGE = {"id": 7, "file_name": "a.png", "width": 100, "height": 50}
BOX = {"id": 0, "image_id": 7, "category_id": 2, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
CATEGORIES = [{"id": 2, "name": "crab"}, {"id": 9, "name": "fish"}]


def parse(images=(IMAGE,), annotations=(BOX,), categories=CATEGORIES, **more):
    content = {"images": list(images), "annotations": list(annotations), "categories": categories, **more}
    coco = parse_coco(json.dumps(content).encode(), "train.json")
    return coco, Cleaned.of(coco)


def test_the_example_is_read_completely():
    """The reef has 72 images, 191 boxes and 4 categories; eight images have no boxes."""
    coco = parse_coco((REEF / "train.json").read_bytes(), "train.json")
    assert (len(coco), len(coco.bbox), len(coco.categories)) == (72, 191, 4)
    assert str(Cleaned.of(coco)) == "8 images without boxes"


def test_labels_count_from_one_whatever_the_ids():
    """Ids with gaps become labels 1, 2, ... in the order of the ids; 0 is the background."""
    coco, cleaned = parse(annotations=[BOX, {**BOX, "category_id": 9, "bbox": [1, 1, 5, 5]}])
    assert coco.labels.tolist() == [1, 2]
    assert [category.id for category in coco.categories] == [2, 9]
    assert not cleaned.unused


def test_whole_floats_are_valid_ids():
    """A category id of 2.0, as some files have it, is category 2; 2.5 is invalid."""
    coco, _ = parse(annotations=[{**BOX, "category_id": 2.0, "image_id": 7.0}])
    assert coco.labels.tolist() == [1]
    with pytest.raises(
        TrainingError, match=r"train.json: annotations\[0\].*category_id 2.5, which is not a whole number"
    ):
        parse(annotations=[{**BOX, "category_id": 2.5}])


def test_annotation_ids_do_not_matter():
    """Two annotations with the id 0 are two boxes."""
    coco, _ = parse(annotations=[BOX, {**BOX, "bbox": [1, 1, 5, 5]}])
    assert len(coco.targets().boxes) == 2


def test_targets_are_clipped_and_large_enough():
    """A box over the edge is clipped, and left out if a side is at most a pixel; both are counted."""
    boxes = [[-5, -5, 20, 20], [90, 40, 50, 50], [10, 10, 1, 30], [200, 10, 30, 30]]
    coco, cleaned = parse(annotations=[{**BOX, "bbox": box} for box in boxes])
    assert coco.targets().boxes.tolist() == [[0, 0, 15, 15], [90, 40, 100, 50]]
    assert coco.bbox.tolist() == boxes
    assert (cleaned.over_edge, cleaned.too_small) == (2, 2)


def test_a_duplicate_box_is_no_target():
    """An exact duplicate is left out and counted; the same box in another category stays."""
    coco, cleaned = parse(annotations=[BOX, {**BOX, "id": 5}, {**BOX, "category_id": 9}])
    assert len(coco.targets().boxes) == 2
    assert cleaned.twice == 1


def test_boxes_belong_to_their_images_whatever_the_order():
    """Each image has its boxes, in whatever order the file has them, and even if some images have none."""
    images = [{**IMAGE, "id": i, "file_name": f"{i}.png"} for i in (5, 3, 8)]
    annotations = [{**BOX, "image_id": i, "bbox": [i, 1, 9, 9]} for i in (8, 5, 8)]
    annotations[2]["bbox"] = [80, 1, 9, 9]
    coco, cleaned = parse(images, annotations)
    assert coco.offsets.tolist() == [0, 1, 1, 3]
    assert coco.bbox[:, 0].tolist() == [5, 8, 80]
    assert coco.owners.tolist() == [0, 2, 2]
    assert cleaned.without_boxes == 1
    kept = coco.keep(np.array([2, 1]))
    assert (kept.ids.tolist(), kept.offsets.tolist(), kept.bbox[:, 0].tolist()) == ([8, 3], [0, 2, 2], [8, 80])


def test_a_list_without_annotations_is_one():
    """A list to predict for has neither annotations nor categories, info or licences."""
    coco = parse_coco(json.dumps({"images": [IMAGE]}).encode(), "eval.json")
    assert (len(coco), coco.bbox.shape, coco.categories) == (1, (0, 4), ())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"<html>", "not a JSON file"),
        (b"[" * 200_000, "not a JSON file.*nested too deeply"),
        (json.dumps({"images": [{**IMAGE, "width": 2**31}]}).encode(), r"images\[0\].*2147483648 x 50"),
        (json.dumps({"images": [{**IMAGE, "id": 2**63}]}).encode(), r"images\[0\].*the id 9.* more than 64 bits"),
        (
            json.dumps({"images": [{**IMAGE, "id": float(2**53)}]}).encode(),
            r"images\[0\].*the id 9.*, which is rounded",
        ),
        (b"[]", "not a COCO file"),
        (b"{}", "not a COCO file"),
        (json.dumps({"images": [{"id": 1}]}).encode(), r"images\[0\]: invalid row: found no 'width'"),
        (json.dumps({"images": [{**IMAGE, "width": 0}]}).encode(), r"images\[0\].*0 x 50"),
        (json.dumps({"images": [{**IMAGE, "file_name": None}]}).encode(), "file_name None"),
        (json.dumps({"images": [IMAGE, {**IMAGE, "id": 8}]}).encode(), r"images\[1\].*same file_name: found 'a.png'"),
        (json.dumps({"images": [IMAGE, {**IMAGE, "file_name": "b"}]}).encode(), "same id: found 7"),
        (json.dumps({"images": [IMAGE, 3]}).encode(), r"images\[1\]"),
        (json.dumps({"images": [IMAGE], "annotations": {}}).encode(), "'annotations' is not a list"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_an_invalid_file_is_a_clear_error(content, found):
    """The error names the row and what is wrong with it."""
    with pytest.raises(TrainingError, match=found):
        parse_coco(content, "train.json")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"image_id": 99}, "unknown image_id: found 99"),
        ({"category_id": 99}, "unknown category_id: found 99"),
        ({"bbox": [1, 2, 3]}, "not four numbers"),
        ({"bbox": [1, 2, 3, None]}, "not four numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "not four numbers"),
    ],
)
def test_an_invalid_box_is_a_clear_error(change, found):
    """The row of a box with an unknown image or category, or with invalid numbers, is named."""
    with pytest.raises(TrainingError, match=rf"annotations\[0\].*{found}"):
        parse(annotations=[{**BOX, **change}])


@pytest.mark.parametrize(("value", "crowds"), [(0, 0), (1, 1), (True, 1), (False, 0), (None, 0), (1.0, 1)])
def test_a_crowd_is_no_target(value, crowds):
    """A box is a crowd if iscrowd is 1 or true; it is counted and stays in the file's boxes, but is not a target."""
    coco, cleaned = parse(annotations=[{**BOX, "iscrowd": value}, {**BOX, "bbox": [1, 1, 9, 9]}])
    assert (cleaned.crowds, len(coco.bbox), len(coco.targets().boxes)) == (crowds, 2, 2 - crowds)
    assert str(cleaned).startswith("1 crowds" if crowds else "1 categories")


@pytest.mark.parametrize("value", ["0", "1", "", 2, -1, 0.5, [], {}])
def test_another_iscrowd_is_a_clear_error(value):
    """The text "0" would be true in Python: it is refused, and so is anything else that is neither 0 nor 1."""
    with pytest.raises(TrainingError, match=r"annotations\[1\].*the iscrowd .*, which is neither 0 nor 1"):
        parse(annotations=[BOX, {**BOX, "iscrowd": value}])


def test_the_boxes_of_a_list_to_predict_are_not_read():
    """Poison in annotations and categories does no harm if boxes are not wanted."""
    poison = [{"iscrowd": "0", "bbox": [float("nan")], "image_id": 99}, 7, None, {**BOX, "category_id": "\ud800"}]
    content = json.dumps({"annotations": poison, "images": [IMAGE], "categories": "none"}).encode()
    coco = parse_coco(content, "eval.json", boxes=False)
    assert (len(coco), len(coco.bbox), coco.categories) == (1, 0, ())
    with pytest.raises(TrainingError, match=r"annotations\[0\]"):
        parse_coco(content, "eval.json")


BAD_NUMBERS = [3_000_000_000, 0, -5, 1.5, 10**400, "100", True, None, [], float("nan"), float("inf"), -(10**30)]


@pytest.mark.parametrize("key", ["width", "height"])
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_a_size_is_a_whole_number_of_pixels(key, value):
    """A size that no image has is one line that names the row."""
    with pytest.raises(TrainingError, match=r"^train.json: images\[0\]: invalid row: found [ -~]{1,120}$"):
        parse(images=[{**IMAGE, key: value}])


@pytest.mark.parametrize(
    "change", [{"area": "9"}, {"area": True}, {"bbox": [1e300, 1, 1e300, 1]}, {"bbox": [10**400] * 4}]
)
def test_a_number_is_a_number(change):
    """Numbers that are texts, or too large to compute with, are one line that names the row."""
    with pytest.raises(TrainingError, match=r"^train.json: annotations\[0\]: invalid row: found [ -~]{1,250}$"):
        parse(annotations=[{**BOX, **change}])


@pytest.mark.parametrize("name", ["\ud800", "fish \udc80", "", None, [], 1.5, True])
def test_a_name_is_a_text(name):
    """Half of a surrogate pair, which can't be written to any log, and what is no text, is one line."""
    with pytest.raises(TrainingError, match=r"^train.json: categories\[0\]: invalid row: found the name [ -~]{1,120}$"):
        parse(annotations=[], categories=[{"id": 1, "name": name}])
    assert parse(annotations=[], categories=[{"id": 1, "name": 5}])[0].categories[0].name == "5"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"images": [{"id": ' + b"[" * 200_000, r"images\[0\]"),
        (b'{"info": ' + b'{"a":' * 200_000, "nested too deeply"),
        (b'{"images": [{"id": 1' + b"0" * 6000 + b"}]}", r"images\[0\].*not a JSON file"),
        (b'{"images": []', "the end of the file"),
        (b'{"images": [],}', "line 1.*'}'"),
        (b'{"info": [1 2]}', "line 1.*'2"),
        (b'{"images": []} x', "'x'"),
        (b'{"images": [], "images": []}', "two entries have the key 'images'"),
        (b"{1: []}", "not a JSON file"),
        (b"\xff\xfe{}", "expected UTF-8"),
        (b"", "the end of the file"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_file_that_is_not_json_says_where(content, place):
    """The error names the row or the line, in one line of a few words."""
    with pytest.raises(TrainingError, match=place) as caught:
        parse_coco(content, "train.json")
    assert len(str(caught.value)) < 200


def test_a_file_is_read_row_by_row():
    """A list of many rows takes a fraction of the memory that its objects would need."""
    images = b",".join(
        b'{"id":%d,"file_name":"%d.png","width":9,"height":9,"note":{"a":["b",{}],"c":[[],[2.5]]}}' % (i, i)
        for i in range(20_000)
    )
    content = b'{"images":[' + images + b"]}"
    tracemalloc.start()
    json.loads(content)
    whole = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    parse_coco(content, "train.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 2


def test_boxes_to_find_are_those_of_the_file():
    """Boxes to find are all but crowds, even outside the image; boxes to learn are fewer."""
    rows = [BOX, BOX, {**BOX, "bbox": [200, 1, 9, 9]}, {**BOX, "iscrowd": 1}]
    coco, _ = parse([IMAGE, {**IMAGE, "id": 8, "file_name": "b.png"}], rows)
    assert coco.counts.tolist() == [3, 0]
    assert coco.targets().counts.tolist() == [1, 0]


def test_thousands_of_categories_do_not_fill_the_log():
    """The line about categories without boxes names the first ten; more categories than an evaluation can hold fail."""
    many = [{"id": number, "name": f"c{number}"} for number in range(1, 5001)]
    said = str(parse(categories=many)[1])
    assert "4,999 categories without boxes (" in said
    assert said.count("c") < 20
    with pytest.raises(TrainingError, match=r"train.json: too many categories: expected at most 5,000, found 5,001"):
        parse(categories=[*many, {"id": 0, "name": "c0"}])
