"""Plots of images: their sizes, their shapes, and the sequences that they are from."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from datapack.page.svg import Dot, Plot, Series, histogram, isolated, scatter
from datapack.report.bins import Bins, count_bins
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datapack.inspect.model import Survey
    from datapack.report.coco_lists import Lists

_MOST_DOTS = 200
_RATIOS = (0, 0.5, 0.7, 0.9, 1.1, 1.3, 1.4, 1.6, 1.7, 1.8, 2)
_NAMED = 3
_ALIKE = 1.5  # times

Sizes = Counter[tuple[int, int]]  # images by width and height


def image_sizes(survey: Survey, lists: Lists) -> Sizes:
    """Count the images of each size: those on disk, or else those that COCO files list."""
    found: Sizes = Counter(image.shown_size for image in survey.images if image.width and image.height)
    if not found:
        for coco in lists.cocos:
            found.update((width, height) for width, height in coco.sizes.tolist() if width > 0 and height > 0)
    return found


def size_plot(sizes: Sizes) -> Plot | None:
    """Draw the sizes of images."""
    if not sizes:
        return None
    whole = sum(sizes.values())
    ordered = sorted(sizes, key=lambda size: (-sizes[size], size))
    named = ", ".join(f"{w:,} × {h:,} ({100 * sizes[w, h] / whole:.0f} %)" for w, h in ordered[:_NAMED])  # noqa: RUF001
    if len(ordered) == 1:
        width, height = ordered[0]
        text = f"All images are {width:,} × {height:,} pixels: batches need no padding"  # noqa: RUF001
    else:
        text = f"There are {len(ordered):,} sizes; the most common: {named}"
        ratio = max(w * h for w, h in ordered) / min(w * h for w, h in ordered)
        text += f". The largest image has {ratio:,.0f} times the pixels of the smallest" if ratio >= 2 else ""  # noqa: PLR2004
    title = "Image sizes"
    description = f"A dot for each size, as large as its number of images. {text}."
    dots = [Dot(width, height, sizes[width, height]) for width, height in ordered[:_MOST_DOTS]]
    return Plot(title, f"{text}.", scatter(title, description, dots, "width, pixels", "height, pixels"))


def shape_plot(sizes: Sizes) -> Plot | None:
    """Draw the aspect ratios of images."""
    if not sizes:
        return None
    ratios = np.repeat(
        [width / height for width, height in sizes], np.fromiter(sizes.values(), np.int64, count=len(sizes))
    )
    labels = [f"{start:g}–{end:g}" for start, end in pairwise(_RATIOS)]  # noqa: RUF001
    bins = Bins(_RATIOS, (*labels, "2+"))
    counts = bins.count(ratios).tolist()
    first, last = ratios.min(), ratios.max()
    wide, high = int((ratios > 1).sum()), int((ratios < 1).sum())
    if last - first < 0.05:  # noqa: PLR2004 - a few pixels of height
        text = f"All images have nearly the same shape, {first:.2f}"
    else:
        text = f"Width by height goes from {first:.2f} to {last:.2f}"
        if wide and high:
            text += "; some images are wide and some high: group them by shape in training"
        elif last < _ALIKE * first:
            text += ": similar enough for batches with little padding"
    title = "Aspect ratios"
    description = f"Columns of images by width divided by height. {wide:,} are wide, {high:,} high. {text}."
    axis = "width ÷ height"
    return Plot(title, f"{text}.", histogram(title, description, bins.labels, [Series("images", counts)], axis))


def sequence_plot(lists: Lists) -> Plot | None:
    """Draw how long the sequences are, and say whether any is in several lists."""
    images, where = _sequences(lists)
    if not images:
        return None
    values = np.fromiter(images.values(), np.int64, count=len(images))
    bins = count_bins(int(values.max()), least=1)
    split = sorted(sequence for sequence, paths in where.items() if len(paths) > 1)
    text = f"{counted(len(images), 'sequence')}; half of them have at most {counted(int(np.median(values)), 'image')}"
    if len(images) == 1:
        text = f"All {counted(int(values[0]), 'image')} are from one sequence" if values[0] > 1 else "One image"
    elif len(values) == values.sum():
        text = f"{counted(len(images), 'sequence')} with one image each"
    if split:
        named = ", ".join(isolated(sequence, 60) for sequence in split[:_NAMED])
        text += (
            f". {counted(len(split), 'sequence')} {'is' if len(split) == 1 else 'are'} in several COCO files, such as "
            f"{named}: frames of one dive or video look alike, so a score on one file would be too good for a detector "
            "trained on another; split by sequence if they are such frames"
        )
    elif len(lists.cocos) > 1:
        text += ". None is in several COCO files: a score on one file is fair for a detector trained on another"
    elif len(images) > 1:
        text += ": keep each on one side when you split the data"
    title = "Sequences"
    description = f"Columns of sequences by their number of images. {text}."
    series = [Series("sequences", bins.count(values).tolist())]
    return Plot(title, f"{text}.", histogram(title, description, bins.labels, series, "images in a sequence"))


def _sequences(lists: Lists) -> tuple[Counter[str], Mapping[str, set[str]]]:
    """Return the number of images of each sequence, and the COCO files that have them."""
    images: Counter[str] = Counter()
    where: defaultdict[str, set[str]] = defaultdict(set)
    for coco in lists.cocos:
        known = coco.sequences[coco.sequences >= 0]
        for sequence, count in zip(*np.unique(known, return_counts=True), strict=True):
            images[coco.sequence_names[sequence]] += int(count)
            where[coco.sequence_names[sequence]].add(coco.path)
    return images, where


def image_plots(survey: Survey, lists: Lists) -> list[Plot]:
    """Draw every plot of images for which there is data."""
    sizes = image_sizes(survey, lists)
    return [plot for plot in (size_plot(sizes), shape_plot(sizes), sequence_plot(lists)) if plot]
