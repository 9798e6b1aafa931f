"""Detections to evaluate, and runs to report on."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from trainers.config import Config
from trainers.dataset.coco import Category, Coco
from trainers.evaluation.coco import Evaluator
from trainers.run.record import DatasetRecord, RunRecord

if TYPE_CHECKING:
    from trainers.evaluation.scores import Evaluation

DIGEST = "sha256:" + "5e" * 32
NAMES = ("starfish", "jellyfish", "crab", "fish", "worm")


def make_coco(boxes, labels, *, size=(200, 100), categories=3, crowd=None, ids=None) -> Coco:
    """Make a COCO file of some images from a list of boxes and a list of labels for each."""
    flat = np.array([box for part in boxes for box in part], np.float64).reshape(-1, 4)
    sides = flat[:, 2:] - flat[:, :2]
    return Coco(
        file_names=tuple(f"{n}.png" for n in range(len(boxes))),
        urls=("",) * len(boxes),
        ids=np.array(ids or range(100, 100 + len(boxes)), np.int64),
        sizes=np.tile(np.array(size, np.int32), (len(boxes), 1)),
        offsets=np.cumsum([0, *map(len, boxes)]),
        bbox=np.concatenate([flat[:, :2], sides], axis=1),
        labels=np.array([label for part in labels for label in part], np.int64),
        areas=sides.prod(axis=1),
        crowd=np.array(crowd or [False] * len(flat), bool),
        categories=tuple(Category(10 * n, f"kind {n}") for n in range(1, categories + 1)),
    )


def outputs(boxes, labels, scores):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": np.array(labels, np.int64), "scores": np.array(scores, np.float32)}


def evaluate(coco: Coco, *found, score=0.5) -> Evaluation:
    """Evaluate detections in the pixels of the file, one output for each image."""
    evaluator = Evaluator(coco, range(len(coco)), coco.sizes)
    evaluator.add(range(len(coco)), found)
    return evaluator.summarize(score)


def quarters(boxes):
    """Round to numbers that are exact in any precision, and in the hundredths of COCO results."""
    return (boxes * 4).round() / 4


def random_case(seed=0, images=40, most=12, categories=4):
    """Make images with boxes, some of them crowds, and detections that are right, moved, wrong or extra."""
    rng = np.random.default_rng(seed)

    def some(count):
        corners = rng.uniform(0, 300, (count, 2))
        return quarters(np.concatenate([corners, corners + rng.uniform(4, 160, (count, 2))], axis=1))

    boxes = [some(rng.integers(0, most + 1)) for _ in range(images)]
    labels = [rng.integers(1, categories, len(part)) for part in boxes]  # the last category has no box
    crowd = (rng.random(sum(map(len, boxes))) < 0.1).tolist()
    coco = make_coco(boxes, labels, size=(480, 480), categories=categories, crowd=crowd)
    found = []
    for part, kinds in zip(boxes, labels, strict=True):
        moved = quarters(part + rng.normal(0, 4, part.shape))
        extra = some(rng.integers(0, most))
        wrong = np.where(rng.random(len(kinds)) < 0.2, rng.integers(1, categories + 1, len(kinds)), kinds)
        taken_for = np.concatenate([wrong, rng.integers(1, categories + 1, len(extra))])
        scores = rng.permutation(10_000)[: len(taken_for)] / 10_000
        found.append(outputs(np.concatenate([moved, extra]), taken_for, scores))
    return coco, found


@cache
def an_evaluation(names=NAMES) -> Evaluation:
    """Make an evaluation in which the last category has no boxes."""
    coco, found = random_case(images=30, categories=len(names))
    named = tuple(Category(place, name) for place, name in enumerate(names, 1))
    return evaluate(replace(coco, categories=named), *found)


def epochs(count: int, *, every: int = 1) -> list[dict[str, object]]:
    """Make lines of `metrics.jsonl`, with an evaluation every few epochs."""
    return [
        {
            "epoch": epoch,
            "step": 50 * epoch,
            "loss": 2 * math.exp(-epoch / 4),
            "losses": {f"loss_{name}": math.exp(-epoch / 4) / 2 for name in ("classifier", "box_reg", "objectness")},
            "learning_rate": 0.01 / epoch,
            "images_per_second": 10.0 + epoch,
            "input_wait_s": 1.0,
            "seconds": 20.0,
            "evaluation": None
            if epoch % every
            else {"mAP": 0.1, "mAP50": 0.2, "mAP75": None, "at300": {"mAP": 0.1, "mAP50": 0.2, "mAP75": None}},
        }
        for epoch in range(1, count + 1)
    ]


def a_record(*, samples: bool = False, verify: str = "full", **changes) -> RunRecord:
    """Make the record of a successful run, with ``changes``."""
    settings = {"dataset": "reef", "digest": DIGEST, "verify": verify, "report": {"samples": samples}}
    record = RunRecord(
        run="reef-1",
        command="train",
        outcome="ok",
        reason=None,
        started="2026-11-24T08:00:00+00:00",
        ended="2026-11-24T09:05:07+00:00",
        resumed=None,
        dataset=DatasetRecord("reef@v1", DIGEST, verify, 73, 1_234_567, 58, 150, 14, 41, 4, 72),
        model="fasterrcnn_resnet50_fpn_v2",
        weights="random",
        weights_digest=None,
        seed=0,
        device="cpu",
        gpu=None,
        world_size=2,
        versions={"python": "3.11.2", "torch": "2.14.1", "cuda": None},
        configuration=Config.model_validate(settings).model_dump(mode="json"),
    )
    return replace(record, **changes)
