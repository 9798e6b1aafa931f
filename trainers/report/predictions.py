"""What a ready-to-run model found in a folder of images: as COCO results and as tables, in files of the run."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.dataset.folder import display_name
from trainers.run.folder import PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from trainers.dataset.coco import Category, Coco
    from trainers.dataset.folder import Measured
    from trainers.run.folder import Run

COUNTS = "counts.csv"  # detections in each category
IMAGE_COUNTS = "image_counts.csv"  # detections in each image, by category
IMAGES = "images.csv"  # each image, its hash, and the number of detections or why there are none
FILES = (PREDICTIONS, COUNTS, IMAGE_COUNTS, IMAGES)

_FOUND_PLACES, _SCORE_PLACES = 2, 5  # digits: of a pixel and of a score, as in the results of a training


@dataclass(frozen=True)
class Found:
    """The detections in the images of a folder, K in all, in the order of the images."""

    measured: Measured
    coco: Coco
    owners: NDArray[np.int64]  # K, indices in the Coco
    boxes: NDArray[np.float64]  # (K, 4) x1, y1, x2, y2, pixels of the upright image
    labels: NDArray[np.int64]  # K, from 1
    scores: NDArray[np.float64]  # K

    @classmethod
    def of(cls, measured: Measured, coco: Coco, state: Mapping[str, NDArray[Any]], score: float) -> Found:
        """Take those of an evaluator's ``state`` with at least ``score``, and none in place of a broken image."""
        owners = np.repeat(state["indices"], state["counts"])
        broken = np.array([name in measured.broken for name in measured.names], np.bool_)
        kept = (state["scores"] >= score) & ~broken[owners]
        return cls(measured, coco, owners[kept], state["boxes"][kept], state["labels"][kept], state["scores"][kept])

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def categories(self) -> Sequence[Category]:
        return self.coco.categories

    @property
    def images(self) -> int:
        """How many images the detector has seen."""
        return len(self.measured.folder.names) - len(self.measured.broken)

    @cached_property
    def by_category(self) -> NDArray[np.int64]:
        """The number of detections in each category."""
        return np.bincount(self.labels, minlength=len(self.categories) + 1)[1:]

    @cached_property
    def images_by_category(self) -> NDArray[np.int64]:
        """The number of images with a detection in each category."""
        pairs = np.unique(np.column_stack([self.owners, self.labels]), axis=0)
        return np.bincount(pairs[:, 1], minlength=len(self.categories) + 1)[1:]

    @cached_property
    def by_image(self) -> NDArray[np.int64]:
        """The number of detections in each image of the Coco."""
        return np.bincount(self.owners, minlength=len(self.coco))


def write_files(run: Run, found: Found, about: Mapping[str, Any]) -> None:
    """Write `predictions.json` and the tables; ``about`` says which model found it.

    Raises:
        TrainingError: there is not enough disk space.
    """
    _write_predictions(run, found, about)
    _write_table(run, COUNTS, ("category_id", "category", "images", "detections"), _category_rows(found))
    _write_table(run, IMAGE_COUNTS, ("image", "category_id", "category", "detections"), _count_rows(found))
    _write_table(run, IMAGES, ("image", "sha256", "width", "height", "detections", "problem"), _image_rows(found))


def results(found: Found) -> Iterator[dict[str, Any]]:
    """Yield COCO results, which are annotations too: x, y, width, height and area in pixels of the upright image."""
    ids, categories = found.coco.ids.tolist(), found.categories
    rows = zip(found.owners.tolist(), found.labels.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True)
    for number, (owner, label, (x1, y1, x2, y2), score) in enumerate(rows, start=1):
        box = [round(side, _FOUND_PLACES) for side in (x1, y1, x2 - x1, y2 - y1)]
        yield {
            "id": number,
            "image_id": ids[owner],
            "category_id": categories[label - 1].id,
            "bbox": box,
            "area": round(box[2] * box[3], _FOUND_PLACES),
            "iscrowd": 0,
            "score": round(score, _SCORE_PLACES),
        }


def _write_predictions(run: Run, found: Found, about: Mapping[str, Any]) -> None:
    """Write a COCO file whose annotations have scores, a row per line, one at a time."""
    images = (
        {"id": identity, "file_name": name, "width": width, "height": height}
        for identity, name, (width, height) in zip(
            found.coco.ids.tolist(), found.coco.file_names, found.coco.sizes.tolist(), strict=True
        )
    )
    categories = ({"id": category.id, "name": category.name} for category in found.categories)
    parts = {"images": images, "categories": categories, "annotations": results(found)}
    with run.write(PREDICTIONS) as file:
        file.write(b'{"info": ' + json.dumps(about, allow_nan=False).encode())
        for name, rows in parts.items():
            file.write(f',\n"{name}": ['.encode())
            for number, row in enumerate(rows):
                file.write((b",\n" if number else b"\n") + json.dumps(row, allow_nan=False).encode())
            file.write(b"\n]")
        file.write(b"}\n")


def _category_rows(found: Found) -> Iterator[tuple[Any, ...]]:
    counts = zip(found.categories, found.images_by_category.tolist(), found.by_category.tolist(), strict=True)
    return ((category.id, category.name, images, count) for category, images, count in counts)


def _count_rows(found: Found) -> Iterator[tuple[Any, ...]]:
    pairs, counts = np.unique(np.column_stack([found.owners, found.labels]), axis=0, return_counts=True)
    for (owner, label), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        category = found.categories[label - 1]
        yield found.coco.file_names[owner], category.id, category.name, count


def _image_rows(found: Found) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each image of the folder, also for those that can't be used, in the folder's order."""
    measured = found.measured
    places = {name: place for place, name in enumerate(measured.names)}
    for name in measured.folder.names:
        sha256, problem = measured.hashes.get(name, ""), measured.broken.get(name, "")
        place = places.get(name)
        size = ("", "") if place is None else tuple(measured.given[place].tolist())
        count = "" if problem or place is None else int(found.by_image[place])
        yield display_name(name), sha256, *size, count, problem


def _write_table(run: Run, name: str, head: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    with run.write(name) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(head)
        table.writerows(tuple(map(_cell, row)) for row in rows)
        text.detach()  # which writes what is left, and lets `run.write` close the file


def _cell(value: Any) -> Any:
    """Keep a spreadsheet from taking a foreign text for a formula: an apostrophe makes it text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
