"""Read a COCO file into columns, whatever is in it: a row that can't be used is noted, and the others are read.

CVAT, Label Studio, Roboflow, torchvision and FathomNet write COCO files in different ways. All of these are read: ids
as floats, names of categories as numbers, no ``info``, no sizes, no annotations, a supercategory as a category.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from datapack.coco.rows import START, is_text, read_rows
from datapack.errors import FetchError
from datapack.inspect.model import NO_ID, BadRow, Category, Coco
from datapack.inspect.sequences import find_sequences

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_LARGEST = 2**63 - 1  # of an id or a side
_LONGEST = 5000  # characters of a name: no path is longer
_MOST_BAD_ROWS = 1000  # that are kept; the others are only counted
_MARKS = (b'"images"', b'"annotations"')  # a COCO file has one of them at least
_SIGNS = (*_MARKS, b'"file_name"', b'"image_id"', b'"category_id"', b'"categories"')
_ENOUGH = 2  # of these signs, in a file that can't be parsed
_BLOCK = 1 << 20  # bytes
_SIDES = 4


def may_be_coco(path: Path) -> bool:
    """Whether a file begins with ``{`` and mentions a list of COCO somewhere: nothing is parsed for that."""
    with path.open("rb") as file:
        if file.read(_BLOCK).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"{":
            return False
    return _mentions(path, _MARKS, 1)


def _mentions(path: Path, signs: Sequence[bytes], enough: int) -> bool:
    """Whether a file has so many of these signs."""
    left, longest, end = set(signs), max(map(len, signs)), b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            block = end + block
            left -= {sign for sign in left if sign in block}
            if len(signs) - len(left) >= enough:
                return True
            end = block[-longest:]
    return False


def read_coco(path: Path, name: str, *, is_named: bool = False) -> Coco | None:
    """Read a COCO file; return None if it is another kind of file.

    Args:
        path: the file.
        name: its path in the payload.
        is_named: whether the catalog calls it a COCO file: then it is one, whatever its content.

    The images of the result are empty: `locate` finds them.
    """
    columns = _Columns()
    problem = ""
    try:
        for key, position, value in read_rows(path):
            columns.take(key, position, value)
    except FetchError as error:
        problem = f"{error.what}: {error.found}" if error.found else f"{error.what}: not {error.expected}"
    images = columns.images
    if images.lists and not problem and (images.names or columns.boxes.lists or columns.categories.lists):
        return columns.coco(name)
    if problem:
        return unread_coco(name, problem) if is_named or images.names or _mentions(path, _SIGNS, _ENOUGH) else None
    if is_named or (columns.categories.lists and columns.boxes.rows):
        return unread_coco(name, "'images' is not a list" if images.is_other else "no list 'images'")
    return None


def unread_coco(name: str, problem: str) -> Coco:
    """Return a COCO file that can't be read, and why."""
    return _Columns().coco(name, problem)


class _List(ABC):
    """A list of a COCO file, as columns."""

    def __init__(self) -> None:
        self.lists = 0  # how often the file has it
        self.is_other = False  # whether the file has something else under its key

    @abstractmethod
    def add(self, position: int, row: dict[str, Any]) -> None:
        """Add a row; raise `ValueError` if it can't be used, before any column has changed."""


class _Images(_List):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.urls: list[str] = []
        self.ids, self.sides = array("q"), array("q")

    def add(self, position: int, row: dict[str, Any]) -> None:
        del position
        name, identity = _text(row, "file_name"), _whole(row, "id")
        width, height = _side(row, "width"), _side(row, "height")
        self.names.append(name)
        self.urls.append(_url(row.get("coco_url")) or _url(row.get("flickr_url")))
        self.ids.append(identity)
        self.sides.extend((width, height) if width and height else (0, 0))


class _Boxes(_List):
    def __init__(self) -> None:
        super().__init__()
        self.ids, self.images, self.categories, self.rows = array("q"), array("q"), array("q"), array("q")
        self.sides = array("d")  # x, y, width and height in turn
        self.crowd = bytearray()
        self.unboxed = 0  # rows that are no boxes

    def add(self, position: int, row: dict[str, Any]) -> None:
        box, crowd = row.get("bbox"), row.get("iscrowd")
        if "bbox" not in row and not _UNBOXED.isdisjoint(row):
            self.unboxed += 1
            return
        if type(box) is not list or len(box) != _SIDES or not all(type(side) in _NUMBERS for side in box):
            raise ValueError(f"the bbox {reprlib.repr(box)} is not four numbers" if "bbox" in row else "no bbox")
        try:
            sides = [*map(float, box)]
        except OverflowError:
            raise ValueError(f"the bbox {reprlib.repr(box)} is too large") from None
        image, category = _whole(row, "image_id"), _whole(row, "category_id")
        identity = NO_ID if row.get("id") is None else _whole(row, "id")
        self.sides.extend(sides)
        self.images.append(image)
        self.categories.append(category)
        self.ids.append(identity)
        self.rows.append(position)
        self.crowd.append(type(crowd) in _NUMBERS_AND_TRUTH and crowd == 1)


class _Categories(_List):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Category] = []

    def add(self, position: int, row: dict[str, Any]) -> None:
        del position
        name = row.get("name")
        text = str(_whole(row, "name")) if type(name) in _NUMBERS else _text(row, "name")
        self.rows.append(Category(_whole(row, "id"), text))


_UNBOXED = frozenset({"caption", "segments_info"})  # COCO's captions, and its panoptic segments
_NUMBERS = frozenset({int, float})
_NUMBERS_AND_TRUTH = frozenset({int, float, bool})


class _Columns:
    """The lists of a COCO file."""

    def __init__(self) -> None:
        self.images, self.boxes, self.categories = _Images(), _Boxes(), _Categories()
        self._bad: list[BadRow] = []
        self._bad_count = 0

    def take(self, key: str, position: int, value: object) -> None:
        """Take the beginning of a key, or a row of its list."""
        if key not in _LISTS:
            return
        part: _List = getattr(self, _LISTS[key])
        if position == START:
            self._start(key, part, value)
        elif not isinstance(value, dict):
            self._note(f"{key}[{position}]", f"{reprlib.repr(value)} is not an object")
        else:
            try:
                part.add(position, value)
            except ValueError as error:
                self._note(f"{key}[{position}]", str(error))

    def _start(self, key: str, part: _List, value: object) -> None:
        if not isinstance(value, list):
            self._note(key, f"{reprlib.repr(value)} is not a list")
            part.is_other = True
            return
        if part.lists:  # every program takes the last one
            self._note(key, "the file has this list twice")
            new = type(part)()
            setattr(self, _LISTS[key], new)
            part = new
        part.lists += 1

    def _note(self, place: str, problem: str) -> None:
        self._bad_count += 1
        if len(self._bad) < _MOST_BAD_ROWS:
            self._bad.append(BadRow(place, problem))

    def coco(self, path: str, problem: str = "") -> Coco:
        images, boxes = self.images, self.boxes
        count, ids = len(images.names), np.array(images.ids, np.int64)
        found = find_sequences(images.names, images.urls)
        category_ids = np.array([category.id for category in self.categories.rows], np.int64)
        return Coco(
            path=path,
            names=tuple(images.names),
            images=("",) * count,
            ids=ids,
            sizes=np.array(images.sides, np.int64).reshape(-1, 2),
            sequences=found.sequences,
            sequence_names=found.names,
            times=found.times,
            numbered=found.numbered,
            owners=_places(ids, np.array(boxes.images, np.int64)),
            labels=_places(category_ids, np.array(boxes.categories, np.int64)),
            boxes=np.array(boxes.sides, np.float64).reshape(-1, _SIDES),
            crowd=np.array(boxes.crowd, np.bool_),
            rows=np.array(boxes.rows, np.int64),
            categories=tuple(self.categories.rows),
            bad_rows=tuple(self._bad),
            bad_count=self._bad_count,
            has_boxes=boxes.lists > 0 and (len(boxes.ids) > 0 or not boxes.unboxed),
            unboxed=boxes.unboxed,
            box_ids=np.array(boxes.ids, np.int64),
            problem=problem,
        )


_LISTS = {"images": "images", "annotations": "boxes", "categories": "categories"}


def _places(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each wanted id is among the known ones: the first place of several, -1 for none."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    ids, first = np.unique(known, return_index=True)
    found = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    places: NDArray[np.int64] = np.where(ids[found] == wanted, first[found], -1).astype(np.int64)
    return places


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if type(value) is not str or not value or len(value) > _LONGEST or not is_text(value):
        raise ValueError(f"the {key} {reprlib.repr(value)} is not a text" if key in row else f"no {key}")
    return value


def _url(value: object) -> str:
    return value if type(value) is str and len(value) <= _LONGEST and is_text(value) else ""


def _whole(row: dict[str, Any], key: str) -> int:
    """Return a whole number; some files write it as a float."""
    value = row.get(key)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) > _LARGEST:
        raise ValueError(f"the {key} {reprlib.repr(value)} is not a whole number" if key in row else f"no {key}")
    return value


def _side(row: dict[str, Any], key: str) -> int:
    """Return a side of an image in pixels; 0 if the row has none."""
    if row.get(key) is None:
        return 0
    side = _whole(row, key)
    if side < 1:
        raise ValueError(f"the {key} {reprlib.repr(side)} is not a number of pixels")
    return side
