"""How good detections are, by COCO's measures. pycocotools does the reckoning; here it gets its input and is read."""

from __future__ import annotations

import contextlib
import io
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainers.errors import TrainingError
from trainers.evaluation.scores import CategoryBoxes, Confusion, Evaluation, Scores, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from trainers.dataset.coco import Coco

    Columns = Mapping[str, NDArray[Any]]  # COCO annotations, a column a key

DETECTIONS = (100, 300)
SIZES = ("small", "medium", "large")
IOU = 0.5  # of the precision-recall curves and the confusion matrix

_AP75 = 5  # the place of 0.75 among the ten thresholds
_AT_ONCE = 64  # images


class Evaluator:
    """Collects the detections in some images of a `Coco` and judges them."""

    def __init__(self, coco: Coco, indices: Iterable[int], sizes: NDArray[np.int32]) -> None:
        """Judge the images at ``indices``; ``sizes`` (N, 2) are width and height of what the model sees, pixels."""
        self._coco = coco
        self._labels = list(range(1, len(coco.categories) + 1))
        self._indices = np.unique(np.fromiter(indices, np.int64))
        self._sizes = sizes
        self._found: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}

    def add(self, indices: Sequence[int], outputs: Sequence[Mapping[str, ArrayLike]]) -> None:
        """Take what the model gave for the images at ``indices``; an image that was there before is passed over.

        ``outputs`` are arrays, or float32 tensors on the CPU: boxes (n, 4) x1, y1, x2, y2 in the pixels of ``sizes``,
        labels (n,), scores (n,). What is labelled as the background (RetinaNet and FCOS can) or is not finite is no
        detection.

        Raises:
            TrainingError: a label is no category of the file.
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

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all detections, in the pixels of the file, for `merge` in another process.

        Arrays: indices (n,) in rising order, counts (n,), and of all detections boxes (m, 4), labels (m,), scores (m,).
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
        """Add the `state` of another process; an image that was there before is passed over."""
        ends = np.cumsum(state["counts"])[:-1]
        boxes, labels, scores = (np.split(state[name], ends) for name in ("boxes", "labels", "scores"))
        for place, index in enumerate(state["indices"].tolist()):
            self._found.setdefault(index, (boxes[place], labels[place], scores[place]))

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield COCO results: the ids of the file, x, y, width, height in hundredths of its pixels, scores to 1e-5."""
        found = self._detections()
        rows = zip(found["image_id"], found["category_id"], found["bbox"], found["score"], strict=True)
        for index, label, box, score in rows:
            yield {
                "image_id": int(self._coco.ids[index]),
                "category_id": self._coco.categories[label - 1].id,
                "bbox": [round(side, 2) for side in box.tolist()],
                "score": round(float(score), 5),
            }

    def summarize(self, score: float = 0.5) -> Evaluation:
        """Judge all images; only detections from ``score`` on count in the confusion matrix.

        Raises:
            TrainingError: there are images that no process has looked at.
        """
        seen = sum(index in self._found for index in self._indices.tolist())
        if seen < len(self._indices):
            raise TrainingError("not all images were looked at", expected=len(self._indices), found=seen)
        truth, found = self._truth(), self._detections()
        judge = self._accumulate(truth, found)
        # [threshold, recall, category, size, detections], and the same without recall
        precision, recall = judge.eval["precision"], judge.eval["recall"]
        at100, at300 = (_summary(precision[..., at], recall[..., at]) for at in range(len(DETECTIONS)))
        curves = precision[0, :, :, 0, 0].T.tolist()
        categories = self._category_boxes(truth)
        return Evaluation(
            images=len(self._indices),
            boxes=sum(category.boxes for category in categories),
            detections=len(found["score"]),
            size_boxes=_size_boxes(truth, judge.params.areaRng[1:]),
            at100=at100,
            at300=at300,
            categories=categories,
            confusion=self._confusion(truth, found, score),
            recall=tuple(judge.params.recThrs.tolist()),
            precision=tuple(tuple(c) if kind.boxes else None for c, kind in zip(curves, categories, strict=True)),
        )

    def _truth(self) -> Columns:
        """Return the boxes to find, in COCO's terms: an image's id is its place, a category's id its label."""
        coco = self._coco
        places = [np.arange(coco.offsets[index], coco.offsets[index + 1]) for index in self._indices]
        boxes = np.concatenate([np.empty(0, np.int64), *places])
        return {
            "image_id": np.repeat(self._indices, [len(part) for part in places]),
            "category_id": coco.labels[boxes],
            "bbox": _corner_and_size(coco.boxes[boxes]),
            "area": coco.areas[boxes],
            "iscrowd": coco.crowd[boxes].astype(np.int64),
        }

    def _detections(self) -> Columns:
        """Return the detections in the same terms."""
        state = self.state()
        boxes = _corner_and_size(state["boxes"])
        return {
            "image_id": np.repeat(state["indices"], state["counts"]),
            "category_id": state["labels"],
            "bbox": boxes,
            "area": boxes[:, 2] * boxes[:, 3],
            "score": state["scores"],
        }

    def _category_boxes(self, truth: Columns) -> tuple[CategoryBoxes, ...]:
        categories = self._coco.categories
        counts = np.bincount(truth["category_id"][truth["iscrowd"] == 0], minlength=len(categories) + 1)[1:]
        return tuple(CategoryBoxes(c.id, c.name, n) for c, n in zip(categories, counts.tolist(), strict=True))

    def _accumulate(self, truth: Columns, found: Columns) -> Any:
        """Return a `COCOeval` that has its arrays of precision and recall."""
        judge = COCOeval(iouType="bbox")
        judge.params.imgIds, judge.params.catIds = self._indices.tolist(), self._labels
        judge.params.maxDets = list(DETECTIONS)
        parts = []
        for part in self._judged(truth, found, maxDets=judge.params.maxDets):
            kept = np.array([row and _needed(row) for row in part.evalImgs], object)
            parts.append(kept.reshape(len(self._labels), len(judge.params.areaRng), len(part.params.imgIds)))
        judge.evalImgs = np.concatenate(parts, axis=2).ravel().tolist()
        judge._paramsEval = judge.params  # as `evaluate` leaves it
        with contextlib.redirect_stdout(io.StringIO()):
            judge.accumulate()
        return judge

    def _judged(self, truth: Columns, found: Columns, **parameters: Any) -> Iterator[Any]:
        """Yield a `COCOeval` that has matched ``found`` to ``truth``, for a few images at a time.

        What pycocotools holds of an image takes several times the memory of what is needed of it afterwards.
        """
        for start in range(0, max(len(self._indices), 1), _AT_ONCE):
            images = self._indices[start : start + _AT_ONCE]
            with contextlib.redirect_stdout(io.StringIO()):
                judge = COCOeval(self._coco_of(truth, images), self._coco_of(found, images), "bbox")
                for name, value in parameters.items():
                    setattr(judge.params, name, value)
                judge.evaluate()
            yield judge

    def _coco_of(self, columns: Columns, images: NDArray[np.int64]) -> COCO:
        """Return annotations as pycocotools has them. Ids are from 1: it takes a match with id 0 for none."""
        rows = np.flatnonzero(np.isin(columns["image_id"], images))
        values = zip((rows + 1).tolist(), *(column[rows].tolist() for column in columns.values()), strict=True)
        coco = COCO()
        coco.dataset = {
            "images": [{"id": index} for index in images.tolist()],
            "categories": [{"id": label} for label in self._labels],
            "annotations": [dict(zip(("id", *columns), row, strict=True)) for row in values],
        }
        coco.createIndex()
        return coco

    def _confusion(self, truth: Columns, found: Columns, score: float) -> Confusion:
        found = {name: column[found["score"] >= score] for name, column in found.items()}
        background = len(self._coco.categories)
        matrix = np.zeros((background + 1, background + 1), np.int64)
        any_size = {"areaRng": [[0, np.inf]], "areaRngLbl": ["all"]}
        judged = self._judged(truth, found, useCats=0, iouThrs=[IOU], maxDets=[len(found["score"])], **any_size)
        # an annotation's place in the matrix, by its id; id 0 is no match
        true, predicted = (np.append(background, columns["category_id"] - 1) for columns in (truth, found))
        for image in filter(None, chain.from_iterable(judge.evalImgs for judge in judged)):
            counted = ~image["dtIgnore"][0]
            ids, matches = np.array(image["dtIds"], np.int64), image["dtMatches"][0].astype(np.int64)
            np.add.at(matrix, (true[matches[counted]], predicted[ids[counted]]), 1)
            missed = (image["gtMatches"][0] == 0) & (image["gtIgnore"] == 0)
            np.add.at(matrix, (true[np.array(image["gtIds"], np.int64)[missed]], background), 1)
        return Confusion(score, IOU, tuple(map(tuple, matrix.tolist())))


def _needed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `COCOeval.accumulate` reads of an image; whom a detection matches is nothing to it."""
    kept = {name: row[name] for name in ("dtScores", "dtIgnore", "gtIgnore")}
    return {**kept, "dtMatches": row["dtMatches"] > 0}


def _summary(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> Summary:
    """Average COCOeval's arrays [threshold, recall, category, size] and [threshold, category, size]."""
    all_precision, all_recall = precision[..., 0], recall[..., 0]  # the first size is any
    kinds = range(recall.shape[1])
    return Summary(
        all=_scores(all_precision, all_recall),
        sizes={size: _scores(precision[..., at], recall[..., at]) for at, size in enumerate(SIZES, 1)},
        categories=tuple(_scores(all_precision[:, :, kind], all_recall[:, kind]) for kind in kinds),
    )


def _scores(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> Scores:
    return Scores(_mean(precision), _mean(precision[0]), _mean(precision[_AP75]), _mean(recall))


def _mean(values: NDArray[np.float64]) -> float | None:
    """Average what is there: -1 stands where there is no box to find."""
    there = values[values > -1]
    return float(there.mean()) if there.size else None


def _size_boxes(truth: Columns, ranges: Sequence[Sequence[float]]) -> dict[str, int]:
    areas = truth["area"][truth["iscrowd"] == 0]
    inside = ((areas >= least) & (areas <= most) for least, most in ranges)
    return {size: int(boxes.sum()) for size, boxes in zip(SIZES, inside, strict=True)}


def _corner_and_size(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Turn x1, y1, x2, y2 into COCO's x, y, width, height."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
