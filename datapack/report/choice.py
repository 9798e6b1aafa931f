"""Which images a page shows: a choice that depends on the data alone, and in which every category occurs if it can."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from datapack.inspect.model import Coco, Survey
    from datapack.report.coco_lists import Lists

MOST = 48
ENOUGH = 12  # images, if fewer show every category
_LARGEST = 64_000_000  # pixels: decoded they take up to 250 MB
_FULL = 12  # boxes: in an image with more, single ones are hard to see


@dataclass(frozen=True)
class Chosen:
    """An image, and its place in a COCO file if it is in one."""

    path: str
    coco: Coco | None = None
    row: int = -1


def choose(survey: Survey, lists: Lists) -> list[Chosen]:
    """Choose images: first those that show every category, the rarest first; then some from everywhere."""
    whole = {image.path for image in survey.images if not image.problem and image.width * image.height <= _LARGEST}
    found = {chosen.path: chosen for chosen in _for_categories(lists, whole)}
    if len(found) < ENOUGH:
        left = sorted(whole - found.keys())
        places = _places(lists)
        for path in _spread(left, ENOUGH - len(found)):
            found[path] = Chosen(path, *places.get(path, (None, -1)))
    return list(found.values())


def _spread(paths: Sequence[str], count: int) -> list[str]:
    """Return some of the paths, at equal distances."""
    if len(paths) <= count:
        return list(paths)
    return [paths[(2 * number + 1) * len(paths) // (2 * count)] for number in range(count)]


def _places(lists: Lists) -> dict[str, tuple[Coco, int]]:
    """Return where each image is listed; files with boxes count before the others."""
    ordered = sorted(lists.cocos, key=lambda coco: (coco.has_boxes, coco.path), reverse=True)
    return {path: (coco, row) for coco in reversed(ordered) for row, path in enumerate(coco.images) if path}


def _for_categories(lists: Lists, whole: set[str]) -> Iterator[Chosen]:
    """Yield images until each category that any of them has was shown, or `MOST` were."""
    images = [
        _Candidate(Chosen(coco.images[row], coco, row), shown, int(counts[row]))
        for coco in lists.labelled
        if len(counts := lists.per_image(coco))
        for row, shown in _categories_by_image(coco)
        if coco.images[row] in whole
    ]
    having: dict[str, list[_Candidate]] = {}
    for image in images:
        for category in image.categories:
            having.setdefault(category, []).append(image)
    yield from islice(_cover(having), MOST)


class _Candidate(NamedTuple):
    chosen: Chosen
    categories: frozenset[str]
    boxes: int


def _cover(having: Mapping[str, Sequence[_Candidate]]) -> Iterator[Chosen]:
    """Yield an image for each category not shown yet.

    It is one that is not too full to see anything, with most such categories, and of these the first.
    """
    seen: set[str] = set()
    for category in sorted(having, key=lambda one: (len(having[one]), one)):
        if category not in seen:
            best = min(
                having[category],
                key=lambda image: (image.boxes > _FULL, -len(image.categories - seen), image.boxes, image.chosen.path),
            )
            seen |= best.categories
            yield best.chosen


def _categories_by_image(coco: Coco) -> Iterable[tuple[int, frozenset[str]]]:
    """Yield the categories of each image that has any, by the image's place in the file."""
    known = (coco.owners >= 0) & (coco.labels >= 0)
    pairs = np.unique(np.stack([coco.owners[known], coco.labels[known]], axis=1), axis=0)
    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    for group in np.split(pairs, starts[1:]):
        if len(group):
            yield int(group[0, 0]), frozenset(coco.categories[label].name for label in group[:, 1])


def categories_shown(chosen: Iterable[Chosen]) -> set[str]:
    """Return the names of the categories that the chosen images have boxes of."""
    found: set[str] = set()
    for each in chosen:
        if each.coco is not None:
            labels = each.coco.labels[each.coco.owners == each.row]
            found |= {each.coco.categories[label].name for label in labels if label >= 0}
    return found
