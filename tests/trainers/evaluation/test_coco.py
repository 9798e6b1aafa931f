"""Detections are evaluated with the COCO metrics, also if the input is unusual."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.trainers.results import evaluate, make_coco, outputs, random_case
from trainers.errors import TrainingError
from trainers.evaluation.coco import Evaluator
from trainers.evaluation.scores import Evaluation

NOTHING = {"boxes": np.empty((0, 4)), "labels": np.empty(0, np.int64), "scores": np.empty(0)}


def near(expected):
    return pytest.approx(expected, abs=1e-9)


def cocoeval(coco, results):
    """Return the summary that COCOeval gives for COCO results; annotation ids count from 1."""
    images = np.repeat(coco.ids, np.diff(coco.offsets))
    columns = (images, coco.labels, coco.bbox.tolist(), coco.areas, coco.crowd)
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
                    "bbox": box,
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
def test_averages_equal_the_summary_of_cocoeval(seed, images, most):
    """At 100 detections, every average equals the one that COCOeval prints for the results file."""
    coco, found = random_case(seed, images, most)
    evaluator = Evaluator(coco, range(len(coco)), coco.sizes)
    evaluator.add(range(len(coco)), found)
    at = evaluator.summarize().at100
    sizes = at.sizes.values()
    ours = [at.all.AP, at.all.AP50, at.all.AP75, *(s.AP for s in sizes), at.all.AR, *(s.AR for s in sizes)]
    stats = cocoeval(coco, list(evaluator.results()))
    assert near([*stats[:6], *stats[8:]]) == ours
    assert 0.1 < at.all.AP < 0.9


def test_three_hundred_detections_find_what_a_hundred_miss():
    """Of 131 boxes of one category in an image, 100 detections can find 100, and 300 can find all."""
    boxes = [[11 * (n % 12), 11 * (n // 12), 11 * (n % 12) + 10, 11 * (n // 12) + 10] for n in range(131)]
    coco = make_coco([boxes], [[1] * 131], size=(200, 200))
    evaluation = evaluate(coco, outputs(boxes, [1] * 131, np.linspace(1, 0.6, 131)))
    assert near(100 / 131) == evaluation.at100.all.AR
    assert near([1, 1]) == [evaluation.at300.all.AR, evaluation.at300.all.AP]
    assert evaluation.boxes == evaluation.detections == evaluation.confusion.matrix[0][0] == 131


def test_the_first_box_can_be_found():
    """The first box of the file counts as found when it is detected: its id must not be 0."""
    box = [10, 10, 50, 50]
    evaluation = evaluate(make_coco([[box]], [[1]]), outputs([box], [1], [0.9]))
    assert near(1) == evaluation.at100.all.AP
    assert evaluation.confusion.matrix[0][0] == 1


def test_a_category_without_boxes_has_no_average():
    """Its AP is None and left out of the mean, even if there are detections of it."""
    box = [10, 10, 50, 50]
    evaluation = evaluate(make_coco([[box]], [[1]]), outputs([box, box], [1, 3], [0.9, 0.8]))
    assert [scores.AP for scores in evaluation.at100.categories] == [near(1), None, None]
    assert near(1) == evaluation.at100.all.AP
    assert [category.boxes for category in evaluation.categories] == [1, 0, 0]
    assert evaluation.precision[1:] == (None, None)
    assert evaluation.at300.sizes["small"].AP is None


def test_no_detections_give_zeros():
    """Without detections every average is 0, and every box is in the background's column."""
    coco = make_coco([[[10, 10, 50, 50]], []], [[2], []])
    evaluation = evaluate(coco, NOTHING, NOTHING)
    assert evaluation.at100.all.AP == evaluation.at300.all.AR == evaluation.at100.categories[1].AP == 0
    assert evaluation.confusion.matrix == ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (0, 0, 0, 0))


def test_no_boxes_at_all_give_no_averages():
    """Detections in images without boxes give nothing to average."""
    evaluation = evaluate(make_coco([[]], [[]]), outputs([[10, 10, 50, 50]], [2], [0.9]))
    assert evaluation.at100.all.AP is evaluation.at100.all.AR is None
    assert evaluation.brief() == {
        "mAP": None,
        "mAP50": None,
        "mAP75": None,
        "at300": {"mAP": None, "mAP50": None, "mAP75": None},
    }
    assert evaluation.confusion.matrix[3] == (0, 1, 0, 0)


def test_a_duplicate_box_counts_twice():
    """Two equal boxes need two detections: one finds half of them, and a third is a false detection."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box, box]], [[1, 1]])
    assert near(0.5) == evaluate(coco, outputs([box], [1], [0.9])).at100.all.AR
    assert evaluate(coco, outputs([box] * 3, [1] * 3, [0.9, 0.8, 0.7])).confusion.matrix[3][0] == 1


def test_a_crowd_is_neither_found_nor_missed():
    """Detections inside a crowd are not wrong, and the crowd does not count as a box to find."""
    coco = make_coco([[[0, 0, 100, 100], [120, 10, 160, 50]]], [[1, 1]], crowd=[True, False])
    found = outputs([[10, 10, 40, 40], [50, 50, 80, 80], [120, 10, 160, 50]], [1, 1, 1], [0.9, 0.8, 0.7])
    evaluation = evaluate(coco, found)
    assert near(1) == evaluation.at100.all.AP
    assert evaluation.boxes == evaluation.categories[0].boxes == sum(evaluation.size_boxes.values()) == 1
    assert sum(map(sum, evaluation.confusion.matrix)) == evaluation.confusion.matrix[0][0] == 1


def test_boxes_are_in_pixels_of_the_original_image():
    """The model's input may be scaled by a factor for each side; results and areas are those of the original."""
    coco = make_coco([[[20, 10, 120, 60]]], [[1]], size=(200, 100), ids=[77])
    evaluator = Evaluator(coco, [0], np.array([[100, 25]], np.int32))
    evaluator.add([0], [outputs([[10, 2.5, 60, 15]], [1], [0.123456])])
    assert list(evaluator.results()) == [
        {"image_id": 77, "category_id": 10, "bbox": [20.0, 10.0, 100.0, 50.0], "score": 0.12346}
    ]
    assert near(1) == evaluator.summarize().at100.sizes["medium"].AP


def test_only_the_chosen_images_count():
    """Boxes in the file's other images are neither found nor missed."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box], [box], [box]], [[1], [2], [1]])
    evaluator = Evaluator(coco, [2], coco.sizes)
    evaluator.add([2], [outputs([box], [1], [0.9])])
    evaluation = evaluator.summarize()
    assert (evaluation.images, evaluation.boxes, evaluation.at100.all.AP) == (1, 1, near(1))


def test_background_and_non_finite_numbers_are_left_out():
    """Detections of class 0, which RetinaNet gives, and those with a number that is not finite do not count."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box]], [[1]])
    found = outputs([box, box, [np.nan, 0, 1, 1], box], [0, 1, 1, 1], [0.9, 0.8, 0.7, np.nan])
    evaluation = evaluate(coco, found)
    assert evaluation.detections == 1
    assert near(1) == evaluation.at100.all.AP


def test_a_model_with_other_categories_is_refused():
    """A label without a category in the file is an error."""
    with pytest.raises(TrainingError, match="expected 3 categories, found label 4"):
        evaluate(make_coco([[]], [[]]), outputs([[1, 1, 2, 2]], [4], [0.5]))


def test_an_image_without_output_is_an_error():
    """The average over some images is not reported as the average over all."""
    coco = make_coco([[], []], [[], []])
    evaluator = Evaluator(coco, [0, 1], coco.sizes)
    evaluator.add([1], [NOTHING])
    with pytest.raises(TrainingError, match="expected 2, found 1"):
        evaluator.summarize()


def test_merged_processes_equal_a_single_one():
    """Several processes, two of which share an image, give the same evaluation in any order of merging."""
    coco, found = random_case()
    places = range(len(coco))
    alone = evaluate(coco, *found)
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


def test_an_image_is_counted_once():
    """Repeated images, which a sampler adds to fill its last batch, change nothing."""
    box = [10, 10, 50, 50]
    coco = make_coco([[box]], [[1]])
    evaluator = Evaluator(coco, [0], coco.sizes)
    for found in (outputs([box], [1], [0.9]), outputs([box, box], [1, 1], [0.9, 0.9]), NOTHING):
        evaluator.add([0], [found])
    assert evaluator.summarize().detections == 1


def test_the_confusion_matrix_counts_matches_across_categories():
    """Rows are true, columns detected categories, the last of each the background; low scores do not count."""
    boxes = [[0, 0, 20, 20], [40, 0, 60, 20], [80, 0, 100, 20], [120, 0, 140, 20]]
    found = outputs([*boxes[:3], [0, 50, 20, 70], boxes[3]], [1, 2, 1, 3, 1], [0.9, 0.9, 0.5, 0.9, 0.4])
    confusion = evaluate(make_coco([boxes], [[1, 1, 2, 1]]), found, score=0.5).confusion
    assert confusion.matrix == ((1, 1, 0, 1), (1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))
    assert (confusion.score, confusion.iou) == (0.5, 0.5)


def test_a_curve_gives_precision_by_recall():
    """One of two boxes is found, after a false detection: precision is 0.5 up to recall 0.5, then 0."""
    coco = make_coco([[[0, 0, 20, 20], [40, 0, 60, 20]]], [[1, 1]])
    evaluation = evaluate(coco, outputs([[100, 50, 120, 70], [0, 0, 20, 20]], [1, 1], [0.9, 0.8]))
    assert len(evaluation.recall) == 101
    assert near([0.5] * 51 + [0] * 50) == evaluation.precision[0]


def test_an_evaluation_survives_its_file():
    """`coco_eval.json` holds finite numbers and nulls, and reading it gives the same evaluation."""
    coco, found = random_case()
    evaluation = evaluate(coco, *found)
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation


def test_the_evaluator_prints_nothing(capfd):
    """The evaluator writes nothing into the log of a job."""
    coco, found = random_case(images=2)
    evaluate(coco, *found)
    assert capfd.readouterr() == ("", "")


def test_tensors_are_accepted():
    """Tensors on the CPU give the same as arrays."""
    torch = pytest.importorskip("torch")
    coco, found = random_case(images=5)
    tensors = [{name: torch.tensor(values) for name, values in part.items()} for part in found]
    assert evaluate(coco, *tensors) == evaluate(coco, *found)


@pytest.mark.parametrize("categories", [0, 3])
def test_no_images_give_an_empty_evaluation(categories):
    """An evaluation without images or without categories has no figures, and is no error."""
    coco = make_coco([[]], [[]], categories=categories)
    evaluation = Evaluator(coco, [], coco.sizes).summarize()
    assert (evaluation.images, evaluation.boxes, evaluation.at100.all.AP) == (0, 0, None)
    assert len(evaluation.at300.categories) == categories
