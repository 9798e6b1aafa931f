"""COCO files: real ones with their oddities, and invalid ones."""

import json

import numpy as np
import pytest

from tests.trainers.havens import REEF
from trainers.dataset.coco_file import parse_coco
from trainers.errors import TrainingError

IMAGE = {"id": 7, "file_name": "a.png", "width": 100, "height": 50}
BOX = {"id": 0, "image_id": 7, "category_id": 2, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
CATEGORIES = [{"id": 2, "name": "crab"}, {"id": 9, "name": "fish"}]


def parse(images=(IMAGE,), annotations=(BOX,), categories=CATEGORIES, **more):
    content = {"images": list(images), "annotations": list(annotations), "categories": categories, **more}
    return parse_coco(json.dumps(content).encode(), "train.json")


def test_the_example_is_read_completely():
    """The reef has 72 images, 191 boxes and 4 categories; eight images have no boxes."""
    coco, cleaned = parse_coco((REEF / "train.json").read_bytes(), "train.json")
    assert (len(coco), len(coco.bbox), len(coco.categories)) == (72, 191, 4)
    assert str(cleaned) == "8 images without boxes"


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
    coco, _ = parse_coco(json.dumps({"images": [IMAGE]}).encode(), "eval.json")
    assert (len(coco), coco.bbox.shape, coco.categories) == (1, (0, 4), ())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"<html>", "not a JSON file"),
        (b"[" * 200_000, "not a JSON file.*nested too deeply"),
        (json.dumps({"images": [{**IMAGE, "width": 2**31}]}).encode(), r"images\[0\].*2147483648 x 50"),
        (json.dumps({"images": [{**IMAGE, "id": 2**63}]}).encode(), r"images\[0\].*the id 9.* more than 64 bits"),
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
