"""The lists of a dataset, its COCO files: what each has, and how their counts add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from datapack.page.cells import Listing, code, name
from datapack.page.svg import MOST_SERIES, Series
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from datapack.inspect.model import Coco, ImageFile, Survey
    from datapack.page.cells import Cell

MOST_LISTS = 40


@dataclass(frozen=True)
class Boxes:
    """The boxes of one list that have an image, with the size of their image in pixels; 0 where it is unknown."""

    owners: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]  # x, y, width, height
    sizes: NDArray[np.int64]  # width and height of each box's image


@dataclass(frozen=True)
class Lists:
    """All COCO files of a version."""

    cocos: tuple[Coco, ...]
    files: Mapping[str, ImageFile]  # the images on disk, by path

    @classmethod
    def of(cls, survey: Survey) -> Lists:
        return cls(survey.cocos, {image.path: image for image in survey.images})

    @cached_property
    def labelled(self) -> tuple[Coco, ...]:
        """The files with a list of annotations."""
        return tuple(coco for coco in self.cocos if coco.has_boxes)

    @cached_property
    def images(self) -> int:
        """The number of different images."""
        return len(self._lists_of_image)

    @cached_property
    def repeated(self) -> int:
        """The number of images that several files list."""
        return sum(number > 1 for number in self._lists_of_image.values())

    @cached_property
    def _lists_of_image(self) -> Counter[str]:
        return Counter(key for coco in self.cocos for key in {*map(_identity, coco.images, coco.names)})

    @cached_property
    def box_count(self) -> int:
        return sum(len(coco.boxes) for coco in self.cocos)

    @cached_property
    def category_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(category.name for coco in self.cocos for category in coco.categories))

    @cached_property
    def boxes(self) -> Mapping[str, Boxes]:
        """The boxes of each file, by its path."""
        return {coco.path: self._boxes(coco) for coco in self.labelled}

    def sizes(self, coco: Coco) -> NDArray[np.int64]:
        """Return each image's width and height: those in the COCO file, or else those of the image."""
        sizes = coco.sizes.copy()
        for row in np.flatnonzero((sizes <= 0).any(axis=1)):
            image = self.files.get(coco.images[row])
            sizes[row] = image.shown_size if image else (0, 0)
        return sizes

    def _boxes(self, coco: Coco) -> Boxes:
        used = coco.owners >= 0
        owners = coco.owners[used]
        return Boxes(owners, coco.labels[used], coco.boxes[used], self.sizes(coco)[owners])

    def per_image(self, coco: Coco) -> NDArray[np.int64]:
        """Return the number of boxes of each image."""
        return np.bincount(self.boxes[coco.path].owners, minlength=len(coco))

    def per_category(self, coco: Coco) -> Counter[str]:
        """Return the number of boxes of each category, by its name."""
        labels = coco.labels[coco.labels >= 0]
        counts = np.bincount(labels, minlength=len(coco.categories))
        found: Counter[str] = Counter()
        for category, count in zip(coco.categories, counts, strict=True):
            found[category.name] += int(count)
        return found

    def series(self, count: Callable[[Coco], Sequence[int] | NDArray[np.int64]], cocos: Iterable[Coco]) -> list[Series]:
        """Return what ``count`` says of each file; where these are many, the smallest ones together."""
        ordered = sorted(cocos, key=lambda coco: (-len(coco.boxes), -len(coco), coco.path))
        kept = ordered if len(ordered) <= MOST_SERIES else ordered[: MOST_SERIES - 1]
        found = [Series(coco.path, list(map(int, count(coco)))) for coco in kept]
        if others := ordered[len(kept) :]:
            rows = zip(*(map(int, count(coco)) for coco in others), strict=True)
            found.append(Series(counted(len(others), "other file"), [sum(row) for row in rows]))
        return found

    def listing(self) -> Listing:
        """Return the table of the lists."""
        heads = ("COCO file", "Images", "not here", "Boxes", "Images without boxes", "Categories", "Sequences")
        rows = [self._row(coco) for coco in self.cocos[:MOST_LISTS]]
        left = len(self.cocos) - len(rows)
        return Listing("COCO files", heads, rows, f"And {counted(left, 'more file')}." if left else "")

    def _row(self, coco: Coco) -> list[Cell]:
        has_boxes = coco.has_boxes
        return [
            Markup("{} {}").format(code(coco.path), name(coco.problem)) if coco.problem else code(coco.path),
            len(coco),
            sum(not path for path in coco.images),
            len(coco.boxes),
            int((self.per_image(coco) == 0).sum()) if has_boxes else len(coco),
            len(coco.categories),
            len(coco.sequence_names),
        ]


def _identity(path: str, name: str) -> str:
    """Return what tells an image from others: its path, or the name in the file if it is not there."""
    return path or f"\0{name}"
