"""Plots of boxes: how many of each category and in each image, how large, and where."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from datapack.page.cells import Amount, Listing, code, name, share
from datapack.page.svg import MOST_BARS, Plot, bars, heat_map, histogram, isolated
from datapack.report.bins import Bins, count_bins
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from datapack.page.cells import Cell
    from datapack.report.coco_lists import Boxes, Lists

MOST_CATEGORIES = 200  # rows of the table
MOST_LISTS = 8  # columns of it
SHORT_SIDE, LONG_SIDE = 800, 1333  # pixels: the size to which the trainers resize images
TINY, SMALL = 8, 16  # pixels after resizing
_FEW = 20  # boxes: the score of a category with fewer says little
_MOST_DETECTIONS = 100  # of an image that COCO's scores count
_SIDES = (0, 8, 16, 32, 64, 128, 256, 512)
_GRID = 24
_NAMED = 3
_NAMED_UNUSED = 2


def boxes_per_category(lists: Lists) -> Plot | None:
    """Draw the number of boxes of each category, by list."""
    totals = _totals(lists)
    ordered = _largest_first(totals)
    if not ordered:
        return None
    counts = {coco.path: lists.per_category(coco) for coco in lists.labelled}
    series = lists.series(lambda coco: [counts[coco.path][label] for label in ordered], lists.labelled)
    left = len(ordered) - MOST_BARS
    more = f"and {counted(left, 'more category', 'more categories')}" if left > 0 else ""
    largest = ", ".join(f"{isolated(label, 40)} {totals[label]:,}" for label in ordered[:_NAMED])
    description = f"A bar for each of {counted(len(ordered), 'category', 'categories')}, the largest first: {largest}."
    title = "Boxes per category"
    return Plot(title, _on_categories(totals, ordered), bars(title, description, ordered, series, more))


def category_table(lists: Lists) -> Listing:
    """Return the table of categories: their boxes and images, and their boxes in each list."""
    totals, ordered = _totals(lists), _largest_first(_totals(lists))
    images = _images_per_category(lists)
    columns = lists.labelled[:MOST_LISTS]
    counts = [lists.per_category(coco) for coco in columns]
    whole = sum(totals.values())
    heads = ("Category", "Boxes", "of all", "Images", *(code(coco.path, 40) for coco in columns if len(columns) > 1))
    rows: list[Sequence[Cell]] = [
        (
            name(label),
            totals[label],
            Amount(share(totals[label], whole), totals[label]),
            images[label],
            *(each[label] for each in counts if len(columns) > 1),
        )
        for label in ordered[:MOST_CATEGORIES]
    ]
    left = len(ordered) - len(rows)
    more = f"And {counted(left, 'more category', 'more categories')}, each with fewer boxes." if left > 0 else ""
    return Listing("Categories", heads, rows, more)


def _totals(lists: Lists) -> Counter[str]:
    totals: Counter[str] = Counter(dict.fromkeys(lists.category_names, 0))
    for coco in lists.labelled:
        for label, count in lists.per_category(coco).items():
            totals[label] += count
    return totals


def _largest_first(totals: Counter[str]) -> list[str]:
    return sorted(totals, key=lambda label: (-totals[label], label))


def _images_per_category(lists: Lists) -> Counter[str]:
    found: Counter[str] = Counter()
    for coco in lists.labelled:
        boxes = lists.boxes[coco.path]
        known = boxes.labels >= 0
        pairs = np.unique(boxes.owners[known] * max(len(coco.categories), 1) + boxes.labels[known])
        counts = np.bincount(pairs % max(len(coco.categories), 1), minlength=len(coco.categories))
        for category, count in zip(coco.categories, counts, strict=True):
            found[category.name] += int(count)
    return found


def _on_categories(totals: Counter[str], ordered: list[str]) -> str:
    used = [label for label in ordered if totals[label]]
    if not used:
        return "No category has a box: this data can't train a detector."
    if len(ordered) == 1:
        return f"There is only one category, {isolated(used[0], 40)}."
    largest, smallest = used[0], used[-1]
    text = (
        f"{isolated(largest, 40)} has {share(totals[largest], sum(totals.values()))} of the boxes, "
        f"{isolated(smallest, 40)} {share(totals[smallest], sum(totals.values()))}"
    )
    if few := sum(totals[label] < _FEW for label in used):
        text += f"; {_categories_have(few)} under {_FEW} boxes, too few for a score that means something"
    elif totals[largest] > 10 * totals[smallest]:
        text += ": judge a detector by category, as its average hides the rare ones"
    else:
        text += ": they are balanced"
    unused = ordered[len(used) :]
    if unused:
        named = " and ".join(f'"{isolated(label, 40)}"' for label in unused[:_NAMED_UNUSED])
        some = ": " if len(unused) <= _NAMED_UNUSED else ", such as "
        text += f". {_categories_have(len(unused))} no box{some}{named}"
    return f"{text}."


def _categories_have(count: int) -> str:
    return f"{counted(count, 'category', 'categories')} {'has' if count == 1 else 'have'}"


def boxes_per_image(lists: Lists) -> Plot | None:
    """Draw how many images have how many boxes."""
    every = [lists.per_image(coco) for coco in lists.labelled]
    values = np.concatenate(every) if every else np.empty(0, np.int64)
    if not len(values):
        return None
    bins = count_bins(int(values.max()))
    series = lists.series(lambda coco: bins.count(lists.per_image(coco)), lists.labelled)
    empty, median, most = int((values == 0).sum()), int(np.median(values)), int(values.max())
    text = f"Half of the images have at most {counted(median, 'box', 'boxes')}; the fullest has {most:,}"
    if crowded := int((values > _MOST_DETECTIONS).sum()):
        text += f". {_images_have(crowded)} over {_MOST_DETECTIONS}, more than COCO's scores count"
    text += (
        f". {_images_have(empty)} none ({share(empty, len(values))}): make sure that they are really empty"
        if empty
        else ". Every image has a box: a detector sees no image without an object"
    )
    title = "Boxes per image"
    description = f"Columns of images by their number of boxes: {_in_words(bins, values)}."
    return Plot(title, f"{text}.", histogram(title, description, bins.labels, series, "boxes in an image"))


def _images_have(count: int) -> str:
    return f"{counted(count, 'image')} {'has' if count == 1 else 'have'}"


def _in_words(bins: Bins, values: NDArray[np.int64] | NDArray[np.float64]) -> str:
    counts = bins.count(values)
    return ", ".join(f"{label}: {count:,}" for label, count in zip(bins.labels, counts, strict=True) if count)


def resized_sides(boxes: Boxes) -> NDArray[np.float64]:
    """Return the side of a square with each box's area once its image has the size for training, in pixels.

    Boxes without an area, and those of images of unknown size, are left out.
    """
    width, height = boxes.sizes[:, 0].astype(float), boxes.sizes[:, 1].astype(float)
    usable = (width > 0) & (height > 0) & (boxes.boxes[:, 2:] > 0).all(axis=1) & np.isfinite(boxes.boxes).all(axis=1)
    shorter, longer = np.minimum(width, height)[usable], np.maximum(width, height)[usable]
    scale = np.minimum(SHORT_SIDE / shorter, LONG_SIDE / longer)
    sides = np.sqrt(boxes.boxes[usable, 2]) * np.sqrt(boxes.boxes[usable, 3])  # a product could be too large
    return np.asarray(sides * scale)


def box_sizes(lists: Lists) -> Plot | None:
    """Draw how large boxes are for a detector."""
    sides = {coco.path: resized_sides(lists.boxes[coco.path]) for coco in lists.labelled}
    values = np.concatenate(list(sides.values())) if sides else np.empty(0)
    if not len(values):
        return None
    labels = [f"{start}–{end}" for start, end in pairwise(_SIDES)]  # noqa: RUF001 - a dash between numbers
    bins = Bins(_SIDES, (*labels, "512+"))
    series = lists.series(lambda coco: bins.count(sides[coco.path]), lists.labelled)
    tiny, small = int((values < TINY).sum()), int((values < SMALL).sum())
    text = (
        f"Once images are {SHORT_SIDE} pixels on their short side, {small:,} of {counted(len(values), 'box', 'boxes')} "
        f"({share(small, len(values))}) {'is' if small == 1 else 'are'} under {SMALL} pixels, "
        f"and {tiny:,} of these under {TINY}"
    )
    if not small:
        every = f"all {len(values):,} boxes have" if len(values) > 1 else "the box has"
        text = f"Once images are {SHORT_SIDE} pixels on their short side, {every} {SMALL} pixels or more: large enough"
    elif small > len(values) / 20:
        text += ": a detector will miss many of them; train on larger images, or on parts of them"
    else:
        text += ": few enough to hardly change the average"
    title = "Box sizes for training"
    description = f"Columns of boxes by the side of a square of their area, in pixels: {_in_words(bins, values)}."
    axis = "√ of the area, pixels after resizing"
    return Plot(title, f"{text}.", histogram(title, description, bins.labels, series, axis))


def box_positions(lists: Lists) -> Plot | None:
    """Draw where in their images boxes are."""
    grid = np.zeros((_GRID, _GRID), np.int64)
    for coco in lists.labelled:
        x, y = _centres(lists.boxes[coco.path])
        grid += np.histogram2d(y, x, bins=_GRID, range=((0, 1), (0, 1)))[0].astype(np.int64)
    whole = int(grid.sum())
    if not whole:
        return None
    third = _GRID // 3
    middle = int(grid[third : 2 * third, third : 2 * third].sum())
    text = f"The middle ninth of the image has {share(middle, whole)} of the box centres (11 % if they were even)"
    if middle > whole / 4:
        text += ": objects are often centred, so a detector may learn the place; shift and crop images in training"
    elif middle < whole / 18:
        text += ": objects keep to the edges; crop images with care"
    else:
        text += ": boxes are spread well"
    title = "Box positions"
    description = (
        f"A grid of {_GRID} by {_GRID} cells over the image, darker where more boxes have their centres. {text}."
    )
    return Plot(title, f"{text}.", heat_map(title, description, grid.tolist()))


def _centres(boxes: Boxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of boxes, 0 to 1 across and down their images."""
    known = (boxes.sizes > 0).all(axis=1) & np.isfinite(boxes.boxes).all(axis=1)
    centres = (boxes.boxes[known, :2] + boxes.boxes[known, 2:] / 2) / boxes.sizes[known]
    return centres[:, 0], centres[:, 1]


def box_plots(lists: Lists) -> list[Plot]:
    """Draw every plot of boxes for which there is data."""
    drawn = (boxes_per_category, boxes_per_image, box_sizes, box_positions)
    return [plot for draw in drawn if (plot := draw(lists))]
