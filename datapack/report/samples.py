"""Samples: small copies of images with their boxes, for data that may be shown."""

from __future__ import annotations

import io
import re
import warnings
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from datapack.bag.manifest import PAYLOAD
from datapack.executor import cores, run_all
from datapack.inspect.forms import PILLOW_FORMATS
from datapack.page.cells import code
from datapack.page.svg import MOST_SERIES, isolated, short
from datapack.report.choice import categories_shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from markupsafe import Markup

    from datapack.catalog.model import Dataset
    from datapack.inspect.model import ImageFile
    from datapack.report.choice import Chosen
    from datapack.report.coco_lists import Lists

SIDE = 400  # pixels, the longer one
_QUALITY = 75
_WORKERS = 4  # each holds a whole image
_BUDGET = 3_300_000  # bytes of all thumbnails: as text in a page they take a third more
_MOST_BOXES = 120  # of one sample
_ORIENTATION = 274  # of EXIF
_GREY = (128, 128, 128, 255)
_NAMED = 4
_NO_DERIVATIVES = re.compile(r"(?<![A-Za-z])ND(?![A-Za-z])|no[ -]?deriv", re.IGNORECASE)


class Box(NamedTuple):
    """A box on a sample, in pixels of the whole image."""

    x: int
    y: int
    width: int
    height: int
    colour: int  # its number in the style sheet
    label: str


@dataclass(frozen=True)
class Sample:
    """An image as the page shows it."""

    path: Markup
    caption: str
    alternative: str  # for those who can't see it
    source: str
    shown: tuple[int, int]  # width and height of the small copy, pixels
    width: int  # pixels that the boxes refer to
    height: int
    boxes: Sequence[Box]


def why_not(dataset: Dataset, samples: bool | None) -> str:
    """Return why a page shows no images of the data; nothing if it may show some."""
    if samples is not None:
        return "" if samples else "--no-samples"
    if dataset.private:
        return "the dataset is private"
    if _NO_DERIVATIVES.search(dataset.licence):
        return f"its licence, {dataset.licence}, does not allow changed copies"
    return ""


@dataclass(frozen=True)
class Shown:
    """The images of the data in the page, or why there are none."""

    samples: tuple[Sample, ...]
    why_not: str  # empty if the page may show images
    categories: int  # that occur on the samples
    all_categories: int  # that occur in the data


def draw(bag: Path, chosen: Sequence[Chosen], images: Sequence[ImageFile], lists: Lists) -> Shown:
    """Make the samples of the chosen images, as many as a page can hold; an image that can't be read is left out."""
    by_path = {image.path: image for image in images}
    jobs = [_Job(bag / PAYLOAD / each.path, _is_turned(each, by_path[each.path])) for each in chosen]
    found: list[Sample] = []
    drawn: list[Chosen] = []
    used = 0
    for each, thumbnail in zip(chosen, run_all(_thumbnail, jobs, workers=min(cores(), _WORKERS)), strict=True):
        if thumbnail is not None and used + len(thumbnail.content) <= _BUDGET:
            used += len(thumbnail.content)
            found.append(_sample(each, thumbnail, by_path[each.path]))
            drawn.append(each)
    every = {label for coco in lists.labelled for label, count in lists.per_category(coco).items() if count}
    return Shown(tuple(found), "", len(categories_shown(drawn)), len(every))


class _Job(NamedTuple):
    file: Path
    turn: bool  # as EXIF says


def _is_turned(chosen: Chosen, image: ImageFile) -> bool:
    """Whether the boxes are on the image as viewers show it; by the size in the COCO file, where that can tell."""
    if chosen.coco is None:
        return True
    stored = (image.width, image.height)
    return stored == image.shown_size or tuple(chosen.coco.sizes[chosen.row].tolist()) != stored


class _Thumbnail(NamedTuple):
    content: bytes  # a JPEG
    size: tuple[int, int]


def _thumbnail(job: _Job, _advance: object) -> _Thumbnail | None:
    """Return a small copy of an image as JPEG, without its metadata; None if it can't be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(job.file, formats=PILLOW_FORMATS) as opened:
                opened.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at a fraction of its size
                small = _small(opened)
                copy = (ImageOps.exif_transpose(small) if job.turn else small).convert("RGB")
    except (OSError, SyntaxError, ValueError, ArithmeticError, MemoryError, Image.DecompressionBombError):
        return None
    out = io.BytesIO()
    copy.save(out, "JPEG", quality=_QUALITY, optimize=True, exif=b"", icc_profile=None, comment=b"")
    return _Thumbnail(out.getvalue(), copy.size)


def _small(opened: Image.Image) -> Image.Image:
    """Return a small copy in eight bits a channel, transparent parts grey."""
    if opened.mode.startswith(("I", "F")):  # 16 bits, or measured values: from the least to the largest
        step = max(1, max(opened.size) // (2 * SIDE))
        values = np.nan_to_num(np.asarray(opened)[::step, ::step].astype(np.float64))
        least, most = values.min(), values.max()
        opened = Image.fromarray(((values - least) * (255 / max(most - least, 1e-9))).astype(np.uint8))
    elif opened.mode not in {"RGB", "L"}:
        orientation = opened.getexif().get(_ORIENTATION)
        clear = opened.convert("RGBA")
        opened = Image.alpha_composite(Image.new("RGBA", clear.size, _GREY), clear).convert("RGB")
        if orientation:
            opened.getexif()[_ORIENTATION] = orientation
    opened.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    return opened


def _sample(chosen: Chosen, thumbnail: _Thumbnail, image: ImageFile) -> Sample:
    boxes: list[Box] = []
    counts: Counter[str] = Counter()
    size = image.shown_size
    if chosen.coco is not None:
        boxes, counts = _boxes(chosen)
        listed = chosen.coco.sizes[chosen.row].tolist()
        size = (listed[0], listed[1]) if min(listed) > 0 else size
    named = [f"{isolated(label, 40)} {count:,}" for label, count in counts.most_common(_NAMED)]
    named += [f"and {len(counts) - _NAMED:,} more"] if len(counts) > _NAMED else []
    caption = ", ".join(named) or ("no boxes" if chosen.coco is not None and chosen.coco.has_boxes else "")
    return Sample(
        path=code(chosen.path, 60),
        caption=caption,
        alternative=f"{isolated(chosen.path)}: {caption or 'an image'}",
        source=f"data:image/jpeg;base64,{b64encode(thumbnail.content).decode()}",
        shown=thumbnail.size,
        width=size[0],
        height=size[1],
        boxes=boxes,
    )


def _boxes(chosen: Chosen) -> tuple[list[Box], Counter[str]]:
    """Return an image's boxes as they are drawn, and the number of its boxes by category."""
    coco = chosen.coco
    assert coco is not None  # noqa: S101 - the caller asks
    rows = np.flatnonzero(coco.owners == chosen.row)
    names = [coco.categories[label].name if (label := coco.labels[row]) >= 0 else "no category" for row in rows]
    boxes = [
        Box(x, y, width, height, int(coco.labels[row]) % MOST_SERIES, short(label, 40))
        for row, label in zip(rows[:_MOST_BOXES], names[:_MOST_BOXES], strict=True)
        if np.isfinite(coco.boxes[row]).all() and (coco.boxes[row, 2:] > 0).all()
        for x, y, width, height in [map(round, coco.boxes[row].tolist())]
    ]
    return boxes, Counter(names)
