"""`report.html` of a prediction: what was found, by which model, in which images. No image unless it is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datapack.page import Figure, render
from datapack.page.svg import MOST_BARS, Plot, Series, bars, histogram, isolated
from datapack.text import counted, size
from trainers import __version__
from trainers.dataset.folder import display_name
from trainers.report.samples import Sample, draw_sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainers.dataset.pixels import Pixels
    from trainers.report.predictions import Found
    from trainers.report.report import OutputFile

MOST_SAMPLES = 6
NO_CATEGORY = "N/A"  # the name that lists of categories give to an id that has none
_MOST_BROKEN = 100  # images that are named
_BINS = 20  # of scores
_TEMPLATE = Path(__file__).with_name("predictions.html.j2")


@dataclass(frozen=True)
class PageFacts:
    """What the page says besides the detections: rows of names and values."""

    title: str  # the run
    model: Sequence[tuple[str, Any]]
    images: Sequence[tuple[str, Any]]
    run: Sequence[tuple[str, Any]]
    score: float
    reference: str  # of the model


def make_page(facts: PageFacts, found: Found, files: Sequence[OutputFile], samples: Sequence[Sample] = ()) -> str:
    """Return the page as HTML."""
    names = [category.name for category in found.categories]
    broken = sorted(found.measured.broken.items())
    return render(
        _TEMPLATE,
        facts=facts,
        headline=_headline(found),
        plots=_plots(found, facts.score),
        categories=_category_rows(found),
        broken=[(display_name(name), why) for name, why in broken[:_MOST_BROKEN]],
        more_broken=len(broken) - _MOST_BROKEN,
        samples=[Figure(draw_sample(sample, names, facts.score), sample.name, form="jpeg") for sample in samples],
        files=files,
        size=size,
        counted=counted,
        version=__version__,
    )


def choose_samples(found: Found, pixels: Pixels) -> list[Sample]:
    """Return the images with the most detections, with these."""
    most = np.argsort(-found.by_image, kind="stable")[:MOST_SAMPLES]
    return [_sample(found, pixels, index) for index in most.tolist() if found.by_image[index]]


def _sample(found: Found, pixels: Pixels, index: int) -> Sample:
    of_image = found.owners == index
    scale = np.tile(pixels.sizes[index] / found.coco.sizes[index], 2)
    return Sample(
        name=found.coco.file_names[index],
        image=pixels.read(index),
        boxes=np.empty((0, 4)),
        labels=np.empty(0, np.int64),
        found_boxes=found.boxes[of_image] * scale,
        found_labels=found.labels[of_image],
        found_scores=found.scores[of_image],
    )


def _headline(found: Found) -> list[tuple[str, str]]:
    numbers = [
        ("Images", f"{found.images:,}"),
        ("Detections", f"{len(found):,}"),
        ("Categories found", f"{np.count_nonzero(found.by_category):,} of {_named(found):,}"),
        ("Images with detections", f"{np.count_nonzero(found.by_image):,}"),
    ]
    broken = len(found.measured.broken)
    return [*numbers, ("Images left out", f"{broken:,}")] if broken else numbers


def _named(found: Found) -> int:
    """Return the number of categories, without the placeholders that COCO's lists have for unused ids."""
    return sum(category.name != NO_CATEGORY for category in found.categories)


def _category_rows(found: Found) -> list[tuple[str, str, str]]:
    """Return a row for each category, those with the most detections first; of placeholders only what was found."""
    counts = list(zip(found.categories, found.by_category.tolist(), found.images_by_category.tolist(), strict=True))
    counts.sort(key=lambda row: -row[1])
    shown = (row for row in counts if row[1] or row[0].name != NO_CATEGORY)
    return [(category.name, f"{count:,}", f"{images:,}") for category, count, images in shown]


def _plots(found: Found, score: float) -> list[Plot]:
    if not len(found):
        return []
    return [_count_plot(found), _score_plot(found, score)]


def _count_plot(found: Found) -> Plot:
    totals = Counter(dict(enumerate(found.by_category.tolist())))
    ordered = [(found.categories[place].name, count) for place, count in totals.most_common() if count]
    labels, values = [name for name, _ in ordered], [count for _, count in ordered]
    others = len(ordered) - MOST_BARS
    more = f"and {counted(others, 'category', 'categories')} with fewer" if others > 0 else ""
    title, share = "Detections by category", values[0] / len(found)
    conclusion = f"{share:.0%} of the detections are in one category, {isolated(labels[0])}."
    return Plot(title, conclusion, bars(title, conclusion, labels, [Series("detections", values)], more))


def _score_plot(found: Found, score: float) -> Plot:
    edges = np.linspace(0, 1, _BINS + 1)
    counts = np.histogram(np.clip(found.scores, 0, 1), edges)[0].tolist()
    labels = [f"{edge:.2f}" for edge in edges[:-1]]
    middle = float(np.median(found.scores))
    title = "Scores"
    conclusion = f"Half of the detections have a score of at least {middle:.2f}. None below {score:g} is written."
    return Plot(title, conclusion, histogram(title, conclusion, labels, [Series("detections", counts)], "score from"))


def image_facts(found: Found, folder: str) -> list[tuple[str, Any]]:
    """Return the rows about the images."""
    others: Mapping[str, int] = found.measured.folder.others
    left_out = ", ".join(f"{count:,} {ending}" for ending, count in others.items())
    bags = ", ".join(bag.reference for bag in found.measured.folder.bags)
    return [
        ("Folder", folder),
        ("Images", f"{len(found.measured.folder.names):,}, {size(sum(found.measured.folder.sizes))}"),
        ("Bags, compared with their manifests", bags or None),
        ("Other files, ignored", left_out or None),
    ]
