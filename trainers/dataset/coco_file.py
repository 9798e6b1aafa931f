"""Parse a COCO file.

Real files are accepted: category ids as floats, annotation ids from 0 or used twice, no ``info`` or ``licenses``, boxes
over the edge, duplicate boxes, images without boxes, categories without boxes.
"""

from __future__ import annotations

import math
import reprlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.dataset.coco import SMALLEST, Category, Coco, large_enough
from trainers.dataset.json_rows import read_rows, to_text
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from trainers.dataset.json_rows import Add

    Row = dict[str, Any]

_LARGEST = 2**63 - 1  # of an id
_LARGEST_EXACT = 2**53 - 1  # of the whole numbers that a float holds, and none beside them
_LARGEST_SIDE = 2**31 - 1  # pixels
_MOST_CATEGORIES = 5_000  # the confusion matrix has the square of that
_SHOWN = 10  # names of categories in a line of the log


@dataclass(frozen=True)
class Cleaned:
    """What a training does not take from a COCO file as it is, and what else is unusual in it."""

    over_edge: int  # boxes clipped to their image
    too_small: int  # boxes left out
    twice: int  # boxes left out as duplicates
    crowds: int  # boxes around many objects, left out of the training and ignored by COCO's metrics
    without_boxes: int  # images
    unused: tuple[str, ...]  # categories

    @classmethod
    def of(cls, coco: Coco) -> Cleaned:
        """Describe what `Coco.targets` changes and leaves out."""
        single = ~coco.crowd & ~coco.duplicates
        large, changed = large_enough(coco.clipped), (coco.clipped != coco.corners).any(axis=1)
        targets = coco.targets()
        used = set(targets.labels.tolist())
        return cls(
            over_edge=int((single & large & changed).sum()),
            too_small=int((single & ~large).sum()),
            twice=int(coco.duplicates.sum()),
            crowds=int(coco.crowd.sum()),
            without_boxes=int((targets.counts == 0).sum()),
            unused=tuple(category.name for label, category in enumerate(coco.categories, 1) if label not in used),
        )

    def __str__(self) -> str:
        names = ", ".join(self.unused[:_SHOWN]) + (", ..." if len(self.unused) > _SHOWN else "")
        parts = (
            (self.over_edge, "boxes clipped to their image"),
            (self.too_small, f"boxes with a side of at most {SMALLEST} pixel left out"),
            (self.twice, "duplicate boxes left out"),
            (self.crowds, "crowds, which are not trained on"),
            (self.without_boxes, "images without boxes"),
            (len(self.unused), f"categories without boxes ({names})"),
        )
        return ", ".join(f"{count:,} {what}" for count, what in parts if count) or "nothing to correct"


def parse_coco(content: bytes, where: object, *, boxes: bool = True) -> Coco:
    """Parse a COCO file; without ``boxes`` only its images, and its boxes and categories may be anything.

    Raises:
        TrainingError: it is not a COCO file, or a row of it is invalid; the error names the row.
    """
    images, annotations, categories = _Images(), _Boxes(), _Categories()
    lists: dict[str, Add] = {"images": images.add}
    if boxes:
        lists |= {"annotations": annotations.add, "categories": categories.add}
    text = to_text(content, where)
    del content  # usually the last reference: the text is as large
    if "images" not in read_rows(text, lists, where):
        raise TrainingError("not a COCO file", where=where, expected="an object with a list of 'images'")
    return _arrays(images, annotations, categories, where)


@dataclass(frozen=True)
class _Images:
    """The rows of ``images``, as columns."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    sides: array[int] = field(default_factory=lambda: array("i"))  # width and height in turn
    names: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        width, height = _whole(row, "width"), _whole(row, "height")
        if min(width, height) < 1 or max(width, height) > _LARGEST_SIDE:
            raise ValueError(f"a size of {width} x {height} pixels")
        self.ids.append(_whole(row, "id"))
        self.sides.extend((width, height))
        self.names.append(_text(row, "file_name"))
        self.urls.append("" if row.get("coco_url") is None else _text(row, "coco_url", least=0))


@dataclass(frozen=True)
class _Boxes:
    """The rows of ``annotations``, as columns."""

    images: array[int] = field(default_factory=lambda: array("q"))
    categories: array[int] = field(default_factory=lambda: array("q"))
    sides: array[float] = field(default_factory=lambda: array("d"))  # x, y, width and height in turn
    areas: array[float] = field(default_factory=lambda: array("d"))
    crowd: bytearray = field(default_factory=bytearray)

    def add(self, row: Row) -> None:
        box = row["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):  # noqa: PLR2004
            raise ValueError(f"the bbox {_shown(box)}, which is not four numbers")
        if max(map(abs, box)) > _LARGEST_SIDE:
            raise ValueError(f"the bbox {_shown(box)}, which is too large")
        area = row.get("area")
        if area is not None and not _is_number(area):
            raise ValueError(f"the area {_shown(area)}, which is not a number")
        self.images.append(_whole(row, "image_id"))
        self.categories.append(_whole(row, "category_id"))
        self.crowd.append(_crowd(row.get("iscrowd")))
        self.sides.extend(box)
        self.areas.append(box[2] * box[3] if area is None else area)


@dataclass(frozen=True)
class _Categories:
    """The rows of ``categories``."""

    rows: list[Category] = field(default_factory=list)

    def add(self, row: Row) -> None:
        name = row["name"]
        name = str(name) if isinstance(name, int) and not isinstance(name, bool) else _text(row, "name")
        self.rows.append(Category(_whole(row, "id"), name))


def _text(row: Row, key: str, *, least: int = 1) -> str:
    """Return a text of at least so many characters."""
    value = row[key]
    if not isinstance(value, str) or len(value) < least:
        raise ValueError(f"the {key} {_shown(value)}, which is not a text")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"the {key} {_shown(value)}, which has half of a surrogate pair")
    return value


def _whole(row: Row, key: str) -> int:
    """Return a whole number; some files write it as a float."""
    value = row[key]
    if not _is_number(value) or value != int(value):
        raise ValueError(f"the {key} {_shown(value)}, which is not a whole number")
    if isinstance(value, float) and abs(value) > _LARGEST_EXACT:
        raise ValueError(f"the {key} {_shown(value)}, which is rounded: write it without a point or an exponent")
    if abs(int(value)) > _LARGEST:
        raise ValueError(f"the {key} {_shown(value)}, which needs more than 64 bits")
    return int(value)


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # of a whole number that no float can hold
        return False


def _crowd(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, int | float) or value not in {0, 1}:
        raise ValueError(f"the iscrowd {_shown(value)}, which is neither 0 nor 1")
    return bool(value)


def _shown(value: object) -> str:
    """Show a value in an error: a few dozen characters of it, in ASCII."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode()


def _arrays(images: _Images, boxes: _Boxes, categories: _Categories, where: object) -> Coco:
    """Check that ids are unique and known, and sort the boxes by image."""
    ids, category_ids = np.array(images.ids, np.int64), np.array([row.id for row in categories.rows], np.int64)
    if len(category_ids) > _MOST_CATEGORIES:
        expected, found = f"at most {_MOST_CATEGORIES:,}", f"{len(category_ids):,}"
        raise TrainingError("too many categories", where=where, expected=expected, found=found)
    _check_unique(ids.tolist(), "images", "id", where)
    _check_unique(images.names, "images", "file_name", where)
    _check_unique(category_ids.tolist(), "categories", "id", where)
    owners = _places(np.array(boxes.images, np.int64), ids, "image_id", where)
    order = np.argsort(owners, kind="stable")
    by_id = sorted(categories.rows, key=lambda category: category.id)
    labels = _places(np.array(boxes.categories, np.int64), np.sort(category_ids), "category_id", where) + 1
    return Coco(
        file_names=tuple(images.names),
        urls=tuple(images.urls),
        ids=ids,
        sizes=np.array(images.sides, np.int32).reshape(-1, 2),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(ids)))]).astype(np.int64),
        bbox=np.array(boxes.sides, np.float64).reshape(-1, 4)[order],
        labels=labels[order],
        areas=np.array(boxes.areas, np.float64)[order],
        crowd=np.array(boxes.crowd, np.bool_)[order],
        categories=tuple(by_id),
    )


def _check_unique(values: Iterable[object], rows: str, key: str, where: object) -> None:
    seen: set[object] = set()
    for number, value in enumerate(values):
        if value in seen:
            found = _shown(value)
            raise TrainingError(f"two {rows} have the same {key}", where=f"{where}: {rows}[{number}]", found=found)
        seen.add(value)


def _places(wanted: NDArray[np.int64], ids: NDArray[np.int64], key: str, where: object) -> NDArray[np.int64]:
    """Return the place of each wanted id among ``ids``; raise `TrainingError` for the first that is not there."""
    if unknown := np.flatnonzero(~np.isin(wanted, ids)).tolist():
        first = unknown[0]
        raise TrainingError(f"unknown {key}", where=f"{where}: annotations[{first}]", found=wanted[first])
    order = np.argsort(ids)
    places: NDArray[np.int64] = order[np.searchsorted(ids, wanted, sorter=order)] if len(ids) else wanted
    return places.astype(np.int64)
