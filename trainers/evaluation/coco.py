"""Evaluate detections with the COCO metrics.

hotcoco computes the figures: a compiled evaluator that gives the arrays of pycocotools bit for bit (a test compares
every figure). Here it gets its input, and its arrays become an `Evaluation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hotcoco import COCO, COCOeval

from trainers.errors import TrainingError
from trainers.evaluation.scores import CategoryBoxes, Confusion, Evaluation, Scores, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from trainers.dataset.coco import Coco

    Columns = Mapping[str, NDArray[Any]]  # COCO annotations: one array for each key

DETECTIONS = (100, 300)  # per category in an image: COCO's limit, and one that dense images need
SIZES = ("small", "medium", "large")
IOU = 0.5  # of the precision-recall curves and the confusion matrix

_AP75 = 5  # the index of 0.75 among the ten thresholds
_ANY_SIZE = [[0, float("inf")]]


class Evaluator:
    """Collects the detections in some images of a `Coco` and evaluates them."""

    def __init__(self, coco: Coco, indices: Iterable[int], sizes: NDArray[np.int32]) -> None:
        """Evaluate the images at ``indices``; ``sizes`` (N, 2) are width and height of the model's input, pixels."""
        self._coco = coco
        self._labels = list(range(1, len(coco.categories) + 1))
        self._indices = np.unique(np.fromiter(indices, np.int64))
        self._sizes = sizes
        # Of equal scores, COCO's metrics take the one in the image with the smaller id first: the order of the ids
        # matters. hotcoco holds ids as floats, which mixes up large ones, so it gets their places in that order.
        self._by_id = np.argsort(coco.ids)
        self._ranks = np.argsort(self._by_id)
        self._found: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}

    def add(self, indices: Sequence[int], outputs: Sequence[Mapping[str, ArrayLike]]) -> None:
        """Add the model's detections in the images at ``indices``; an image that was added before is skipped.

        ``outputs`` are arrays, or float32 tensors on the CPU: boxes (n, 4) x1, y1, x2, y2 in the pixels of ``sizes``,
        labels (n,), scores (n,). Detections of the background, which RetinaNet and FCOS can give, are left out, and
        those with a number that is not finite.

        Raises:
            TrainingError: the file has no category for a label.
        """
        known = len(self._coco.categories)
        for index, output in zip(indices, outputs, strict=True):
            boxes = np.asarray(output["boxes"], np.float64).reshape(-1, 4)
            labels, scores = np.asarray(output["labels"], np.int64), np.asarray(output["scores"], np.float64)
            if labels.max(initial=0) > known:
                found = f"label {labels.max()}"
                raise TrainingError("the model has other categories", expected=f"{known} categories", found=found)
            kept = (labels > 0) & np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
            scale = np.tile(self._coco.sizes[index] / self._sizes[index], 2)
            self._found.setdefault(int(index), (boxes[kept] * scale, labels[kept], scores[kept]))

    @property
    def seen(self) -> int:
        """How many images were added."""
        return len(self._found)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all detections, in pixels of the original image, for `merge` in another process.

        Arrays: indices (n,) in ascending order, counts (n,), and for all detections boxes (m, 4), labels, scores (m,).
        """
        order = sorted(self._found)
        nothing = (np.empty((0, 4)), np.empty(0, np.int64), np.empty(0))
        boxes, labels, scores = zip(nothing, *(self._found[index] for index in order), strict=True)
        return {
            "indices": np.array(order, np.int64),
            "counts": np.array([len(part) for part in labels[1:]], np.int64),
            "boxes": np.concatenate(boxes),
            "labels": np.concatenate(labels),
            "scores": np.concatenate(scores),
        }

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Add the `state` of another process; an image that was added before is skipped."""
        ends = np.cumsum(state["counts"])[:-1]
        boxes, labels, scores = (np.split(state[name], ends) for name in ("boxes", "labels", "scores"))
        for place, index in enumerate(state["indices"].tolist()):
            self._found.setdefault(index, (boxes[place], labels[place], scores[place]))

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield COCO results: the file's ids, x, y, width, height rounded to 0.01 pixels, scores to 1e-5."""
        found = self._detections()
        rows = zip(found["image_id"], found["category_id"], found["bbox"], found["score"], strict=True)
        for rank, label, box, score in rows:
            yield {
                "image_id": int(self._coco.ids[self._by_id[rank]]),
                "category_id": self._coco.categories[label - 1].id,
                "bbox": [round(side, 2) for side in box.tolist()],
                "score": round(float(score), 5),
            }

    def summarize(self, score: float = 0.5) -> Evaluation:
        """Evaluate all images; the confusion matrix counts only detections with at least ``score``.

        Raises:
            TrainingError: no process has run the model on some of the images.
        """
        seen = sum(index in self._found for index in self._indices.tolist())
        if seen < len(self._indices):
            raise TrainingError("some images were not evaluated", expected=len(self._indices), found=seen)
        truth, found = self._truth(), self._detections()
        matched = self._match(truth, found, max_dets=list(DETECTIONS))
        precision, recall = _arrays(matched)
        at100, at300 = (_summary(precision[..., at], recall[..., at]) for at in range(len(DETECTIONS)))
        curves = precision[0, :, :, 0, 0].T.tolist()
        categories = self._category_boxes(truth)
        return Evaluation(
            images=len(self._indices),
            boxes=sum(category.boxes for category in categories),
            detections=len(found["score"]),
            size_boxes=_size_boxes(truth, matched.params.area_rng[1:]),
            at100=at100,
            at300=at300,
            categories=categories,
            confusion=self._confusion(truth, found, score),
            recall=tuple(matched.params.rec_thrs),
            precision=tuple(tuple(c) if each.boxes else None for c, each in zip(curves, categories, strict=True)),
        )

    def _truth(self) -> Columns:
        """Return the boxes to find, as the file has them. Ids of categories are labels, those of images are ranks."""
        coco = self._coco.keep(self._indices)
        return {
            "image_id": self._ranks[self._indices][coco.owners],
            "category_id": coco.labels,
            "bbox": coco.bbox,
            "area": coco.areas,
            "iscrowd": coco.crowd.astype(np.int64),
        }

    def _detections(self) -> Columns:
        """Return the detections in the same form."""
        state = self.state()
        return {
            "image_id": np.repeat(self._ranks[state["indices"]], state["counts"]),
            "category_id": state["labels"],
            "bbox": _corner_and_size(state["boxes"]),
            "score": state["scores"],
        }

    def _category_boxes(self, truth: Columns) -> tuple[CategoryBoxes, ...]:
        categories = self._coco.categories
        counts = np.bincount(truth["category_id"][truth["iscrowd"] == 0], minlength=len(categories) + 1)[1:]
        return tuple(CategoryBoxes(c.id, c.name, n) for c, n in zip(categories, counts.tolist(), strict=True))

    def _match(self, truth: Columns, found: Columns, **parameters: Any) -> COCOeval:
        """Return a `COCOeval` that has matched ``found`` to ``truth``. The ids of both count from 1: 0 is no match."""
        ids = np.sort(self._ranks[self._indices]).tolist()
        images = [{"id": number} for number in ids]
        categories = [{"id": label, "name": str(label)} for label in self._labels]
        where = (truth["image_id"], truth["category_id"], truth["bbox"])
        boxes = COCO.from_arrays(images, categories, *where, area=truth["area"], iscrowd=truth["iscrowd"])
        rows = np.column_stack([found[name] for name in ("image_id", "bbox", "score", "category_id")])
        matched = COCOeval(boxes, boxes.load_res(rows), "bbox")
        parameters |= {"img_ids": ids, "cat_ids": self._labels}
        for name, value in parameters.items():
            setattr(matched.params, name, value)
        matched.evaluate()
        return matched

    def _confusion(self, truth: Columns, found: Columns, score: float) -> Confusion:
        found = {name: column[found["score"] >= score] for name, column in found.items()}
        background = len(self._coco.categories)
        matrix = np.zeros((background + 1, background + 1), np.int64)
        limits = {"iou_thrs": [IOU], "max_dets": [len(found["score"])], "area_rng": _ANY_SIZE, "area_rng_lbl": ["all"]}
        # the row and the column of each annotation by its id; those of the background for id 0
        rows, columns = (np.append(background, part["category_id"] - 1) for part in (truth, found))
        for image in filter(None, self._match(truth, found, use_cats=False, **limits).eval_imgs):
            boxes, detections = _pairs(image)
            np.add.at(matrix, (rows[boxes], columns[detections]), 1)
        return Confusion(score, IOU, tuple(map(tuple, matrix.tolist())))


def _pairs(image: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids of matched boxes and detections in an image. Id 0 is no match: a false detection, a missed box."""
    matches, detections = np.array(image["dtMatches"][0], np.int64), np.array(image["dtIds"], np.int64)
    counted = ~np.array(image["dtIgnore"][0], np.bool_)
    found, ignored = np.array(image["gtMatched"][0], np.bool_), np.array(image["gtIgnore"], np.bool_)
    missed = np.array(image["gtIds"], np.int64)[~(found | ignored)]
    return np.append(matches[counted], missed), np.append(detections[counted], np.zeros_like(missed))


def _arrays(matched: COCOeval) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision [threshold, recall, category, size, detections] and recall, the same without recall."""
    matched.accumulate()
    arrays: Any = matched.eval
    return arrays["precision"], arrays["recall"]


def _summary(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> Summary:
    """Average the arrays [threshold, recall, category, size] and [threshold, category, size]."""
    all_precision, all_recall = precision[..., 0], recall[..., 0]  # index 0: any size
    return Summary(
        all=_scores(all_precision, all_recall),
        sizes={size: _scores(precision[..., at], recall[..., at]) for at, size in enumerate(SIZES, 1)},
        categories=tuple(_scores(all_precision[:, :, at], all_recall[:, at]) for at in range(recall.shape[1])),
    )


def _scores(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> Scores:
    return Scores(_mean(precision), _mean(precision[0]), _mean(precision[_AP75]), _mean(recall))


def _mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean, leaving out -1: it marks categories and sizes without a box to find."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _size_boxes(truth: Columns, ranges: Sequence[Sequence[float]]) -> dict[str, int]:
    areas = truth["area"][truth["iscrowd"] == 0]
    inside = ((areas >= least) & (areas <= most) for least, most in ranges)
    return {size: int(boxes.sum()) for size, boxes in zip(SIZES, inside, strict=True)}


def _corner_and_size(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Convert x1, y1, x2, y2 to COCO's x, y, width, height."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
