"""A COCO file as arrays: its images and their boxes, as training and evaluation need them.

Real files are accepted: category ids as floats, annotation ids from 0 or used twice, no ``info`` or ``licenses``, boxes
over the edge, duplicate boxes, images without boxes, categories without boxes.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from datapack.bag.manifest import check_path
from trainers.errors import DatapackError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

Row = TypeVar("Row")

SMALLEST = 1  # pixels: a box needs longer sides than this to show something
_LARGEST = 2**63 - 1  # of an id
_LARGEST_SIDE = 2**31 - 1  # pixels


@dataclass(frozen=True)
class Category:
    """A category by its id in the COCO file. Its label in a model is its position in `Coco.categories`, from 1."""

    id: int
    name: str


@dataclass(frozen=True)
class Coco:
    """N images with M boxes. The boxes of image i are ``offsets[i]`` to ``offsets[i + 1]``."""

    file_names: tuple[str, ...]  # N, relative to the folder of the images
    urls: tuple[str, ...]  # N, "" if there is none
    ids: NDArray[np.int64]  # N, as in the file
    sizes: NDArray[np.int32]  # (N, 2) width and height, pixels
    offsets: NDArray[np.int64]  # N + 1
    boxes: NDArray[np.float32]  # (M, 4) x1, y1, x2, y2, pixels, inside the image
    labels: NDArray[np.int64]  # M, from 1: 0 is the background
    areas: NDArray[np.float32]  # M, pixels, as in the file
    crowd: NDArray[np.bool_]  # M
    categories: tuple[Category, ...]

    def __len__(self) -> int:
        return len(self.file_names)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The image of each box: M indices."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def keep(self, images: NDArray[np.int64]) -> Coco:
        """Return the images with these indices and their boxes; the categories stay."""
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in images]
        boxes = np.concatenate([np.empty(0, np.int64), *spans])
        return replace(
            self,
            file_names=tuple(self.file_names[i] for i in images),
            urls=tuple(self.urls[i] for i in images),
            ids=self.ids[images],
            sizes=self.sizes[images],
            offsets=np.concatenate([[0], np.cumsum(np.diff(self.offsets)[images])]).astype(np.int64),
            boxes=self.boxes[boxes],
            labels=self.labels[boxes],
            areas=self.areas[boxes],
            crowd=self.crowd[boxes],
        )


@dataclass(frozen=True)
class Cleaned:
    """What was corrected while reading a COCO file, and what else is unusual in it."""

    over_edge: int  # boxes clamped to their image
    too_small: int  # boxes dropped
    twice: int  # boxes dropped as duplicates
    without_boxes: int  # images
    unused: tuple[str, ...]  # categories

    def __str__(self) -> str:
        parts = (
            (self.over_edge, "boxes clamped to their image"),
            (self.too_small, f"boxes with a side of at most {SMALLEST} pixel dropped"),
            (self.twice, "duplicate boxes dropped"),
            (self.without_boxes, "images without boxes"),
            (len(self.unused), f"categories without boxes ({', '.join(self.unused)})"),
        )
        return ", ".join(f"{count:,} {what}" for count, what in parts if count) or "nothing to correct"


def parse_coco(content: bytes, where: object) -> tuple[Coco, Cleaned]:
    """Parse a COCO file.

    Raises:
        TrainingError: it is not a COCO file, or a row of it is invalid; the error names the row.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TrainingError("not a JSON file", where=where, found=error) from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise TrainingError("not a COCO file", where=where, expected="an object with a list of 'images'")
    images = _rows(document, "images", _image, where)
    categories = _categories(document, where)
    _unique((image.id for image in images), "images", "id", where)
    _unique((image.file_name for image in images), "images", "file_name", where)
    annotations = _rows(document, "annotations", _annotation, where)
    _check_ids(annotations, images, categories, where)
    return _arrays(images, categories, annotations)


@dataclass(frozen=True)
class _Image:
    id: int
    file_name: str
    url: str
    size: tuple[int, int]


@dataclass(frozen=True)
class _Annotation:
    image: int
    category: int
    box: tuple[float, ...]  # x, y, width, height
    area: float
    crowd: bool


def _image(row: dict[str, Any]) -> _Image:
    size = _whole(row, "width"), _whole(row, "height")
    if min(size) < 1 or max(size) > _LARGEST_SIDE:
        raise ValueError(f"a size of {size[0]} x {size[1]}")
    try:
        name = check_path(row["file_name"])
    except (DatapackError, TypeError) as error:
        raise ValueError(f"the file_name {row['file_name']!r}") from error
    return _Image(_whole(row, "id"), name, str(row.get("coco_url") or ""), size)


def _annotation(row: dict[str, Any]) -> _Annotation:
    box = row["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):  # noqa: PLR2004
        raise ValueError(f"the bbox {box!r}, which is not four numbers")
    area = row.get("area")
    return _Annotation(
        _whole(row, "image_id"),
        _whole(row, "category_id"),
        tuple(map(float, box)),
        float(area) if isinstance(area, int | float) and _is_number(area) else float(box[2] * box[3]),
        bool(row.get("iscrowd")),
    )


def _categories(document: dict[str, Any], where: object) -> tuple[Category, ...]:
    found = _rows(document, "categories", lambda row: Category(_whole(row, "id"), str(row["name"])), where)
    _unique((category.id for category in found), "categories", "id", where)
    return tuple(sorted(found, key=lambda category: category.id))


def _rows(document: dict[str, Any], key: str, parse: Callable[[dict[str, Any]], Row], where: object) -> list[Row]:
    """Parse each row of a list, which may be missing."""
    rows = document.get(key, [])
    if not isinstance(rows, list):
        raise TrainingError(f"{key!r} is not a list", where=where)
    parsed = []
    for number, row in enumerate(rows):
        try:
            parsed.append(parse(row))
        except (ValueError, TypeError, KeyError) as error:
            found = f"no {error}" if isinstance(error, KeyError) else error
            raise TrainingError("invalid row", where=f"{where}: {key}[{number}]", found=found) from error
    return parsed


def _whole(row: dict[str, Any], key: str) -> int:
    """Return a whole number; some files write it as a float."""
    value = row[key]
    if not _is_number(value) or value != int(value):
        raise ValueError(f"the {key} {value!r}, which is not a whole number")
    if abs(int(value)) > _LARGEST:
        raise ValueError(f"the {key} {value!r}, which needs more than 64 bits")
    return int(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _unique(values: Iterable[object], rows: str, key: str, where: object) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise TrainingError(f"two {rows} have the same {key}", where=where, found=f"{twice[0]!r}")


def _check_ids(
    annotations: list[_Annotation], images: list[_Image], categories: tuple[Category, ...], where: object
) -> None:
    """Raise `TrainingError` for the first annotation of an unknown image or category."""
    image_ids, category_ids = {image.id for image in images}, {category.id for category in categories}
    for number, row in enumerate(annotations):
        for key, value, known in (("image_id", row.image, image_ids), ("category_id", row.category, category_ids)):
            if value not in known:
                raise TrainingError(f"unknown {key}", where=f"{where}: annotations[{number}]", found=value)


def _arrays(
    images: list[_Image], categories: tuple[Category, ...], annotations: list[_Annotation]
) -> tuple[Coco, Cleaned]:
    indices = {image.id: index for index, image in enumerate(images)}
    labels = {category.id: label for label, category in enumerate(categories, start=1)}
    rows = list(dict.fromkeys(annotations))
    sizes = np.array([image.size for image in images], np.int32).reshape(-1, 2)
    owners = np.array([indices[row.image] for row in rows], np.int64)
    corners = _corners(rows)
    boxes = np.clip(corners, 0, np.tile(sizes[owners], 2).astype(np.float64))
    good = ((boxes[:, 2:] - boxes[:, :2]) > SMALLEST).all(axis=1)
    kept = np.flatnonzero(good)[np.argsort(owners[good], kind="stable")]
    counts = np.bincount(owners[kept], minlength=len(images))
    coco = Coco(
        file_names=tuple(image.file_name for image in images),
        urls=tuple(image.url for image in images),
        ids=np.array([image.id for image in images], np.int64),
        sizes=sizes,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes[kept].astype(np.float32),
        labels=np.array([labels[row.category] for row in rows], np.int64)[kept],
        areas=np.array([row.area for row in rows], np.float32)[kept],
        crowd=np.array([row.crowd for row in rows], np.bool_)[kept],
        categories=categories,
    )
    used = set(coco.labels.tolist())
    cleaned = Cleaned(
        over_edge=int((boxes != corners).any(axis=1)[good].sum()),
        too_small=int((~good).sum()),
        twice=len(annotations) - len(rows),
        without_boxes=int((counts == 0).sum()),
        unused=tuple(category.name for category in categories if labels[category.id] not in used),
    )
    return coco, cleaned


def _corners(rows: list[_Annotation]) -> NDArray[np.float64]:
    """Return the boxes as x1, y1, x2, y2."""
    given = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
    return np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)
