"""Every figure of an evaluation is the one that pycocotools gives, bit for bit."""

import contextlib
import io
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.trainers.results import evaluate, make_coco, outputs
from trainers.evaluation.scores import CategoryBoxes, Confusion, Evaluation, Scores, Summary

SIZES = ("small", "medium", "large")
CATEGORIES = 3
EDGES = (0, 1023.9, 1024, 1024.1, 9216, 9217, 1e6)  # areas about the limits between small, medium and large


def matched(coco, found, **parameters) -> COCOeval:
    """Match with pycocotools; ids of annotations count from 1, as it takes id 0 for no match."""

    def annotations(rows):
        keys = ("image_id", "category_id", "bbox", "area", "iscrowd", "score")
        return [{"id": number, **dict(zip(keys, row, strict=True))} for number, row in enumerate(rows, 1)]

    def corner(box):
        return [*box[:2], box[2] - box[0], box[3] - box[1]]

    owners = coco.owners.tolist()
    truth = zip(
        owners,
        coco.labels.tolist(),
        coco.bbox.tolist(),
        coco.areas.tolist(),
        coco.crowd.astype(int).tolist(),
        [0] * len(owners),
        strict=True,
    )
    detections = []
    for image, part in enumerate(found):
        for box, label, score in zip(part["boxes"].tolist(), part["labels"].tolist(), part["scores"], strict=True):
            _, _, width, height = corner(box)
            detections.append((image, label, corner(box), width * height, 0, float(score)))
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for rows in (truth, detections):
            side = COCO()
            side.dataset = {
                "images": [{"id": image} for image in range(len(coco))],
                "categories": [{"id": label} for label in range(1, len(coco.categories) + 1)],
                "annotations": annotations(rows),
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def reference(coco, found, score=0.5) -> Evaluation:
    """Make an evaluation of what pycocotools says."""
    done = matched(coco, found, maxDets=[100, 300])
    precision, recall = done.eval["precision"], done.eval["recall"]
    counted = ~coco.crowd
    boxes = [int((counted & (coco.labels == label)).sum()) for label in range(1, len(coco.categories) + 1)]

    def mean(values):
        return float(np.mean(values[values > -1])) if (values > -1).any() else None

    def scores(size, limit, category=slice(None)):
        precisions, recalls = precision[:, :, category, size, limit], recall[:, category, size, limit]
        return Scores(mean(precisions), mean(precisions[0]), mean(precisions[5]), mean(recalls))

    def summary(limit):
        return Summary(
            scores(0, limit),
            {name: scores(size, limit) for size, name in enumerate(SIZES, 1)},
            tuple(scores(0, limit, category) for category in range(len(boxes))),
        )

    return Evaluation(
        images=len(coco),
        boxes=sum(boxes),
        detections=sum(len(part["scores"]) for part in found),
        size_boxes={
            name: int((counted & (least <= coco.areas) & (coco.areas <= most)).sum())
            for name, (least, most) in zip(SIZES, done.params.areaRng[1:], strict=True)
        },
        at100=summary(0),
        at300=summary(1),
        categories=tuple(CategoryBoxes(c.id, c.name, n) for c, n in zip(coco.categories, boxes, strict=True)),
        confusion=confusion(coco, found, score),
        recall=tuple(done.params.recThrs.tolist()),
        precision=tuple(tuple(precision[0, :, at, 0, 0].tolist()) if count else None for at, count in enumerate(boxes)),
    )


def confusion(coco, found, score) -> Confusion:
    """Count the matches of pycocotools where categories do not matter."""
    found = [{name: values[part["scores"] >= score] for name, values in part.items()} for part in found]
    labels = np.concatenate([part["labels"] for part in found]).tolist()
    limits = {"maxDets": [len(labels)], "areaRng": [[0, np.inf]], "areaRngLbl": ["all"], "iouThrs": [0.5]}
    background = len(coco.categories)
    matrix = [[0] * (background + 1) for _ in range(background + 1)]
    for image in filter(None, matched(coco, found, useCats=0, **limits).evalImgs):
        of_boxes = dict(zip(image["gtIds"], coco.labels[np.array(image["gtIds"], int) - 1].tolist(), strict=True))
        for detection, box, ignored in zip(image["dtIds"], *image["dtMatches"], *image["dtIgnore"], strict=True):
            if not ignored:
                matrix[of_boxes[int(box)] - 1 if box else background][labels[detection - 1] - 1] += 1
        for box, detection, ignored in zip(image["gtIds"], *image["gtMatches"], image["gtIgnore"], strict=True):
            if not detection and not ignored:
                matrix[of_boxes[box] - 1][background] += 1
    return Confusion(score, 0.5, tuple(map(tuple, matrix)))


@st.composite
def annotated(draw):
    """Draw a few images with boxes on a coarse grid: boxes coincide, IoUs and scores tie, areas lie at the limits."""
    sides = st.sampled_from([4, 32, 33, 96, 97])
    corners = st.tuples(st.sampled_from([0, 1, 8, 40]), st.sampled_from([0, 1, 8, 40]), sides, sides)
    boxes = corners.map(lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]])
    labels = st.integers(1, CATEGORIES - 1)  # the last category has no box
    truth = [draw(st.lists(st.tuples(boxes, labels), max_size=6)) for _ in range(draw(st.integers(1, 3)))]
    count = sum(map(len, truth))
    crowd = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    areas = draw(st.lists(st.sampled_from(EDGES), min_size=count, max_size=count))
    scores = st.sampled_from([0.25, 0.5, 0.5, 0.75])
    found = []
    for part in truth:
        known = st.sampled_from([box for box, _ in part]) if part else boxes
        rows = draw(st.lists(st.tuples(known | boxes, st.integers(1, CATEGORIES), scores), max_size=8))
        found.append(outputs(*([row[at] for row in rows] for at in range(3))))
    return case(truth, crowd, areas), found


def case(truth, crowd, areas):
    boxes, labels = ([[row[at] for row in part] for part in truth] for at in (0, 1))
    coco = make_coco(boxes, labels, size=(640, 480), categories=CATEGORIES, crowd=crowd)
    coco.areas[:] = areas
    return coco


@given(annotated())
@settings(max_examples=150, deadline=None)
def test_small_datasets_give_the_figures_of_pycocotools(drawn):
    """Crowds, ties in scores and IoUs, equal boxes, areas at the limits, empty images and categories change nothing."""
    coco, found = drawn
    assert evaluate(coco, *found) == reference(coco, found)


@pytest.mark.parametrize(("most", "images", "ties"), [*product((12, 60), (12,), (False, True)), (420, 2, False)])
def test_large_datasets_give_the_figures_of_pycocotools(most, images, ties):
    """So do random boxes of many sizes, few in an image or over 300 of one category."""
    rng = np.random.default_rng(most)

    def boxes(count):
        corners = rng.uniform(0, 400, (count, 2))
        return np.concatenate([corners, corners + rng.gamma(2, 30, (count, 2)) + 1], axis=1)

    truth, found = [], []
    for _ in range(images):
        inside, labels = boxes(rng.integers(0, most + 1)), rng.integers(1, CATEGORIES, most)
        truth.append(list(zip(inside.tolist(), labels.tolist(), strict=False)))
        moved, extra = inside + rng.normal(0, 5, inside.shape), boxes(most)
        predicted = np.where(rng.random(most) < 0.9, labels, CATEGORIES)[: len(moved)]
        every = np.concatenate([predicted, np.full(most, 1)])
        scores = rng.choice([0.3, 0.5, 0.9], len(every)) if ties else rng.random(len(every))
        found.append(outputs(np.concatenate([moved, extra]), every, scores))
    count = sum(map(len, truth))
    crowd = (rng.random(count) < 0.1).tolist()
    coco = case(truth, crowd, rng.choice(EDGES, count) if ties else rng.uniform(0, 2e4, count))
    evaluation = evaluate(coco, *found)
    assert evaluation == reference(coco, found)
    assert 0 < evaluation.at100.all.AP < evaluation.at100.all.AR < 1
