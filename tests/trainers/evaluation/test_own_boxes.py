"""An evaluation uses the boxes of the COCO file as they are: its figures are those of pycocotools on the same file."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainers.dataset.coco_file import parse_coco
from trainers.evaluation.coco import Evaluator

CATEGORIES = (30, 7, 12)  # their ids, in the order of the file
IMAGES = (9, 400, 2)
WIDTH, HEIGHT = 64, 48
PLACES = st.sampled_from([-10, -0.5, 0, 8, 30.25, 60, 70])
SIDES = st.sampled_from([-4, 0, 0.5, 1, 12, 33.5, 100])


def annotation(box, image, category, crowd, area):
    row = {"image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd}
    return row | {"area": box[2] * box[3] if area is None else area}


ANNOTATIONS = st.builds(
    annotation,
    st.tuples(PLACES, PLACES, SIDES, SIDES),
    st.sampled_from(IMAGES),
    st.sampled_from(CATEGORIES[:2]),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([None, 4, 1024, 1024.0001, 9216, 20_000]),
)


def document(annotations, ids) -> bytes:
    """Write a COCO file; some annotations come twice."""
    rows = [row | {"id": number} for row, number in zip(annotations, ids, strict=True)]
    images = [{"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in IMAGES]
    categories = [{"id": i, "name": str(i)} for i in CATEGORIES]
    return json.dumps({"images": images, "annotations": rows, "categories": categories}).encode()


def pycocotools_stats(content: bytes, results) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(content)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def our_stats(content: bytes, found):
    coco = parse_coco(content, "train.json")
    evaluator = Evaluator(coco, range(len(coco)), coco.sizes)
    labels = {category.id: label for label, category in enumerate(coco.categories, 1)}
    for index, image in enumerate(coco.ids.tolist()):
        rows = [row for row in found if row[0] == image]
        boxes = np.array([box for _, _, box, _ in rows], np.float64).reshape(-1, 4)
        outputs = {
            "boxes": np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
            "labels": np.array([labels[category] for _, category, _, _ in rows], np.int64),
            "scores": np.array([score for *_, score in rows], np.float64),
        }
        evaluator.add([index], [outputs])
    at = evaluator.summarize().at100
    parts = (at.all.AP, at.all.AP50, at.all.AP75, *(s.AP for s in at.sizes.values()))
    recalls = (at.all.AR, *(s.AR for s in at.sizes.values()))
    return [-1.0 if value is None else value for value in (*parts, *recalls)], list(evaluator.results())


@st.composite
def files(draw):
    """Draw a file, and detections: most of its own boxes, moved a little, and some others."""
    rows = draw(st.lists(ANNOTATIONS, min_size=1, max_size=12))
    rows += draw(st.lists(st.sampled_from(rows), max_size=3))
    ids = draw(st.permutations(range(1, 2 * len(rows) + 1)))[: len(rows)]
    other = st.tuples(PLACES, PLACES, st.sampled_from([1, 12, 33.5]), st.sampled_from([1, 12, 100]))
    found = []
    for row in rows:
        box = row["bbox"] if min(row["bbox"][2:]) > 0 else draw(other)
        moved = [box[0] + draw(st.sampled_from([0, 0.25, 3])), *box[1:]]
        places = draw(st.lists(st.sampled_from([moved, draw(other)]), max_size=2))
        category, score = draw(st.sampled_from(CATEGORIES)), draw(st.integers(1, 8)) / 8
        found += [(row["image_id"], category, place, score) for place in places]
    return document(rows, ids), found


@given(files())
@settings(max_examples=100, deadline=None)
def test_the_figures_are_those_of_pycocotools_on_the_same_file(drawn):
    """Boxes outside their image, over its edge, twice, without a side, crowds, and areas of the file change nothing."""
    content, found = drawn
    if not found:  # pycocotools can't load an empty list
        found = [(IMAGES[0], CATEGORIES[0], [0, 0, 4, 4], 0.5)]
    ours, results = our_stats(content, found)
    theirs = pycocotools_stats(content, results)
    assert ours == [*theirs[:6], *theirs[8:]]


def test_a_clipped_box_is_found_less_well_than_a_clean_one():
    """A box of which the image shows a quarter is a match only for a detection of the whole box, as in pycocotools."""
    row = annotation((54, 38, 20, 20), IMAGES[0], CATEGORIES[0], 0, None)
    content = document([row], [1])
    inside, whole = ([(IMAGES[0], CATEGORIES[0], box, 0.5)] for box in ([54, 38, 10, 10], row["bbox"]))
    assert our_stats(content, inside)[0][0] == 0
    assert our_stats(content, whole)[0][0] == pycocotools_stats(content, our_stats(content, whole)[1])[0]
    assert our_stats(content, whole)[0][0] > 0.99


@pytest.mark.parametrize("ids", [(2**53, 2**53 + 1), (2**63 - 1, 2**63 - 2), (-5, 3), (0, 1 - 2**63)])
def test_any_id_of_an_image_gives_the_same_figures(ids):
    """Ids that no float holds, as hashes are, and negative ones: each image keeps its own boxes and detections."""
    boxes = [[8, 8, 20, 20], [30, 24, 20, 20]]
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in ids],
        "annotations": [{"image_id": n, "category_id": 7, "bbox": box} for n, box in zip(ids, boxes, strict=True)],
        "categories": [{"id": 7, "name": "crab"}],
    }
    coco = parse_coco(json.dumps(content).encode(), "a file")
    evaluator = Evaluator(coco, range(2), coco.sizes)
    for index, (x, y, width, height) in enumerate(boxes):
        evaluator.add([index], [{"boxes": [[x, y, x + width, y + height]], "labels": [1], "scores": [0.9]}])
    assert evaluator.summarize().at100.all.AP == 1
    assert evaluator.summarize().confusion.matrix == ((2, 0), (0, 0))
    assert [(row["image_id"], row["bbox"]) for row in evaluator.results()] == list(zip(ids, boxes, strict=True))
