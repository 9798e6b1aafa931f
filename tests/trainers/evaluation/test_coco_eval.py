"""Detections judged: the numbers are COCOeval's own, and odd input is no surprise to it."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from judging import judge, make_coco, outputs, random_case
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainers.errors import TrainingError
from trainers.evaluation.coco import Evaluator
from trainers.evaluation.scores import Evaluation

NOTHING = {"boxes": np.empty((0, 4)), "labels": np.empty(0, np.int64), "scores": np.empty(0)}


def near(expected):
    return pytest.approx(expected, abs=1e-9)


def cocoeval(coco, results):
    """COCOeval's own summary of COCO results, from a file's annotations with ids from 1."""
    images = np.repeat(coco.ids, np.diff(coco.offsets))
    columns = (images, coco.labels, coco.boxes.astype(float), coco.areas, coco.crowd)
    truth = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = {
            "info": {},
            "images": [{"id": int(i)} for i in coco.ids],
            "categories": [{"id": category.id} for category in coco.categories],
            "annotations": [
                {
                    "id": n,
                    "image_id": int(image),
                    "category_id": coco.categories[label - 1].id,
                    "bbox": [*box[:2], *(box[2:] - box[:2])],
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
                for n, (image, label, box, area, crowd) in enumerate(zip(*columns, strict=True), 1)
            ],
        }
        truth.createIndex()
        reference = COCOeval(truth, truth.loadRes(results), "bbox")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    return reference.stats


@pytest.mark.parametrize(("seed", "images", "most"), [(0, 40, 12), (1, 150, 3), (2, 3, 320)])
def test_the_numbers_are_those_of_cocoeval(seed, images, most):
    """At 100 detections every average is the one that COCOeval prints for the same results."""
    coco, found = random_case(seed, images, most)
    evaluator = Evaluator(coco, range(len(coco)), coco.sizes)
    evaluator.add(range(len(coco)), found)
    at = evaluator.summarize().at100
    sizes = at.sizes.values()
    ours = [at.all.AP, at.all.AP50, at.all.AP75, *(s.AP for s in sizes), at.all.AR, *(s.AR for s in sizes)]
    stats = cocoeval(coco, list(evaluator.results()))
    assert near([*stats[:6], *stats[8:]]) == ours
    assert 0.1 < at.all.AP < 0.9


def test_three_hundred_detections_find_what_a_hundred_leave():
    """Of 131 boxes of a category in one image, 100 detections can find 100, and 300 find them all."""
    boxes = [[11 * (n % 12), 11 * (n // 12), 11 * (n % 12) + 10, 11 * (n // 12) + 10] for n in range(131)]
    coco = make_coco([boxes], [[1] * 131], size=(200, 200))
    evaluation = judge(coco, outputs(boxes, [1] * 131, np.linspace(1, 0.6, 131)))
    assert near(100 / 131) == evaluation.at100.all.AR
    assert near([1, 1]) == [evaluation.at300.all.AR, evaluation.at300.all.AP]
    assert evaluation.boxes == evaluation.detections == evaluation.confusion.matrix[0][0] == 131


def test_the_first_box_can_be_found():
    """A single box, the first of the file, that is detected counts as found: its id is not 0."""
    box = [10, 10, 50, 50]
    evaluation = judge(make_coco([[box]], [[1]]), outputs([box], [1], [0.9]))
    assert near(1) == evaluation.at100.all.AP
    assert evaluation.confusion.matrix[0][0] == 1


def test_a_category_without_boxes_has_no_average():
    """Its AP is None and not in the mean, although something was taken for it."""
    box = [10, 10, 50, 50]
    evaluation = judge(make_coco([[box]], [[1]]), outputs([box, box], [1, 3], [0.9, 0.8]))
    assert [scores.AP for scores in evaluation.at100.categories] == [near(1), None, None]
    assert near(1) == evaluation.at100.all.AP
    assert [category.boxes for category in evaluation.categories] == [1, 0, 0]
    assert evaluation.precision[1:] == (None, None)
    assert evaluation.at300.sizes["small"].AP is None


def test_nothing_found_is_fine():
    """Where no image has a detection, every average is 0, and every box is in the column of the background."""
    coco = make_coco([[[10, 10, 50, 50]], []], [[2], []])
    evaluation = judge(coco, NOTHING, NOTHING)
    assert evaluation.at100.all.AP == evaluation.at300.all.AR == evaluation.at100.categories[1].AP == 0
    assert evaluation.confusion.matrix == ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (0, 0, 0, 0))


def test_no_boxes_at_all_give_no_averages():
    """Images without any box have detections, but nothing to average."""
    evaluation = judge(make_coco([[]], [[]]), outputs([[10, 10, 50, 50]], [2], [0.9]))
    assert evaluation.at100.all.AP is evaluation.at100.all.AR is None
    assert evaluation.brief() == {
        "mAP": None,
        "mAP50": None,
        "mAP75": None,
        "at300": {"mAP": None, "mAP50": None, "mAP75": None},
    }
    assert evaluation.confusion.matrix[3] == (0, 1, 0, 0)


def test_a_box_that_is_there_twice_is_two_boxes():
    """The same box twice takes two detections; one leaves half of it unfound, and a third is one too many."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box, box]], [[1, 1]])
    assert near(0.5) == judge(coco, outputs([box], [1], [0.9])).at100.all.AR
    assert judge(coco, outputs([box] * 3, [1] * 3, [0.9, 0.8, 0.7])).confusion.matrix[3][0] == 1


def test_a_crowd_is_neither_found_nor_missed():
    """Detections inside a crowd are not wrong, and the crowd is no box to find."""
    coco = make_coco([[[0, 0, 100, 100], [120, 10, 160, 50]]], [[1, 1]], crowd=[True, False])
    found = outputs([[10, 10, 40, 40], [50, 50, 80, 80], [120, 10, 160, 50]], [1, 1, 1], [0.9, 0.8, 0.7])
    evaluation = judge(coco, found)
    assert near(1) == evaluation.at100.all.AP
    assert evaluation.boxes == evaluation.categories[0].boxes == sum(evaluation.size_boxes.values()) == 1
    assert sum(map(sum, evaluation.confusion.matrix)) == evaluation.confusion.matrix[0][0] == 1


def test_the_pixels_are_those_of_the_file():
    """What the model saw may have another size, each side by its own factor; results and areas are of the file."""
    coco = make_coco([[[20, 10, 120, 60]]], [[1]], size=(200, 100), ids=[77])
    evaluator = Evaluator(coco, [0], np.array([[100, 25]], np.int32))
    evaluator.add([0], [outputs([[10, 2.5, 60, 15]], [1], [0.123456])])
    assert list(evaluator.results()) == [
        {"image_id": 77, "category_id": 10, "bbox": [20.0, 10.0, 100.0, 50.0], "score": 0.12346}
    ]
    assert near(1) == evaluator.summarize().at100.sizes["medium"].AP


def test_only_the_images_that_were_asked_for_count():
    """Boxes of the other part of the file are neither found nor missed."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box], [box], [box]], [[1], [2], [1]])
    evaluator = Evaluator(coco, [2], coco.sizes)
    evaluator.add([2], [outputs([box], [1], [0.9])])
    evaluation = evaluator.summarize()
    assert (evaluation.images, evaluation.boxes, evaluation.at100.all.AP) == (1, 1, near(1))


def test_what_is_no_detection_is_left_out():
    """The background, as RetinaNet's class 0, and numbers that are not finite are no detections."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box]], [[1]])
    found = outputs([box, box, [np.nan, 0, 1, 1], box], [0, 1, 1, 1], [0.9, 0.8, 0.7, np.nan])
    evaluation = judge(coco, found)
    assert evaluation.detections == 1
    assert near(1) == evaluation.at100.all.AP


def test_a_model_of_other_categories_is_refused():
    """A label that the file has no category for is an error, not a result."""
    with pytest.raises(TrainingError, match="expected 3 categories, found label 4"):
        judge(make_coco([[]], [[]]), outputs([[1, 1, 2, 2]], [4], [0.5]))


def test_a_image_that_nobody_looked_at_is_an_error():
    """An average over a part of the images is not given out as that of all."""
    coco = make_coco([[], []], [[], []])
    evaluator = Evaluator(coco, [0, 1], coco.sizes)
    evaluator.add([1], [NOTHING])
    with pytest.raises(TrainingError, match="expected 2, found 1"):
        evaluator.summarize()


def test_processes_together_find_what_one_finds():
    """Shares of several processes, an image in two of them, make the same evaluation in whatever order."""
    coco, found = random_case()
    places = range(len(coco))
    alone = judge(coco, *found)
    shares = [Evaluator(coco, places, coco.sizes) for _ in range(3)]
    for rank, share in enumerate(shares):
        mine = [*places[rank::3], 0]
        share.add(mine, [found[place] for place in mine])
    first, second, third = shares
    first.merge(third.state())
    first.merge(second.state())
    first.merge(Evaluator(coco, places, coco.sizes).state())
    assert first.summarize() == alone
    third.merge(second.state())
    third.merge(first.state())
    assert third.summarize() == alone


def test_a_image_is_counted_once():
    """An image that comes again, as the last batch of a sampler repeats some, changes nothing."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box]], [[1]])
    evaluator = Evaluator(coco, [0], coco.sizes)
    for found in (outputs([box], [1], [0.9]), outputs([box, box], [1, 1], [0.9, 0.9]), NOTHING):
        evaluator.add([0], [found])
    assert evaluator.summarize().detections == 1


def test_the_confusion_matrix_says_what_was_taken_for_what():
    """Rows are the truth, columns what was detected, the last of each the background; weak detections do not count."""
    boxes = [[0, 0, 20, 20], [40, 0, 60, 20], [80, 0, 100, 20], [120, 0, 140, 20]]
    found = outputs([*boxes[:3], [0, 50, 20, 70], boxes[3]], [1, 2, 1, 3, 1], [0.9, 0.9, 0.5, 0.9, 0.4])
    confusion = judge(make_coco([boxes], [[1, 1, 2, 1]]), found, score=0.5).confusion
    assert confusion.matrix == ((1, 1, 0, 1), (1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))
    assert (confusion.score, confusion.iou) == (0.5, 0.5)


def test_the_curve_of_a_category_is_its_precision_by_recall():
    """One of two boxes found, after a wrong detection: half precision up to half recall, none after it."""
    coco = make_coco([[[0, 0, 20, 20], [40, 0, 60, 20]]], [[1, 1]])
    evaluation = judge(coco, outputs([[100, 50, 120, 70], [0, 0, 20, 20]], [1, 1], [0.9, 0.8]))
    assert len(evaluation.recall) == 101
    assert near([0.5] * 51 + [0] * 50) == evaluation.precision[0]


def test_an_evaluation_survives_its_file():
    """`coco_eval.json` holds finite numbers and nulls, and gives the same evaluation back."""
    coco, found = random_case()
    evaluation = judge(coco, *found)
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation


def test_pycocotools_says_nothing(capfd):
    """The log of a job is not for COCOeval's lines."""
    coco, found = random_case(images=2)
    judge(coco, *found)
    assert capfd.readouterr() == ("", "")


def test_tensors_are_taken_as_they_are():
    """The model's tensors on the CPU count as arrays do."""
    torch = pytest.importorskip("torch")
    coco, found = random_case(images=5)
    tensors = [{name: torch.tensor(values) for name, values in part.items()} for part in found]
    assert judge(coco, *tensors) == judge(coco, *found)


def test_ids_that_are_there_twice_do_no_harm():
    """Two images with one id are judged each for itself."""
    coco, found = random_case(images=4)
    assert judge(replace(coco, ids=np.zeros(4, np.int64)), *found) == judge(coco, *found)


@pytest.mark.parametrize("categories", [0, 3])
def test_no_images_are_no_error(categories):
    """Without images, or without categories, there is an evaluation that says nothing."""
    coco = make_coco([[]], [[]], categories=categories)
    evaluation = Evaluator(coco, [], coco.sizes).summarize()
    assert (evaluation.images, evaluation.boxes, evaluation.at100.all.AP) == (0, 0, None)
    assert len(evaluation.at300.categories) == categories
