"""Divide the images of another version into parts, each with a COCO file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datapack.catalog.sources.split import list_of
from datapack.errors import FetchError
from datapack.fetch.context import SourceResult
from datapack.fetch.derived.content import read_content
from datapack.fetch.derived.links import Links
from datapack.fetch.derived.parts import Counts, divide
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from datapack.catalog.sources import SplitSource
    from datapack.fetch.context import FetchContext
    from datapack.fetch.derived.content import Content
    from datapack.inspect.model import Coco

_SHOWN = 3  # categories in a note


def fetch_split(source: SplitSource, context: FetchContext) -> SourceResult:
    """Link the files, and write a COCO file for each part."""
    origin = context.origins[source.origin]
    content = read_content(source, origin, context, [source.coco] if source.coco else [])
    coco = _only(source, content)
    groups = _group(source, coco, content)
    if len(groups.names) < len(source.ratios):
        raise FetchError(
            f"{counted(len(groups.names), source.by)} can't be divided into {counted(len(source.ratios), 'part')}",
            where=source.label,
            fix="use 'by: image', or fewer parts" if source.by == "sequence" else "use fewer parts",
        )
    parts = divide(groups.counts, groups.names, source.ratios, source.seed)[groups.of_images]
    links = Links(source, origin, context)
    lists = {list_of(part, coco.path) for part in source.ratios}
    for number, part in enumerate(source.ratios):
        members = {groups.images[place] for place in np.flatnonzero(parts == number).tolist()}
        links.add_cut(coco, list_of(part, coco.path), members, content)
    links.add([*content.images, *(path for path in content.others if path not in lists)])
    for line in _report(source, coco, groups, parts):
        context.reporter.note(f"{source.label}: {line}")
    return SourceResult()


def _only(source: SplitSource, content: Content) -> Coco:
    """Return the COCO file to divide."""
    if len(content.cocos) == 1:
        return content.cocos[0]
    raise FetchError(
        f"{source.split} has {'several COCO files' if content.cocos else 'no COCO file'}",
        where=source.label,
        found=", ".join(coco.path for coco in content.cocos) or None,
        fix="choose one with 'coco:'" if content.cocos else "a split needs one, to write a list for each part",
    )


class _Groups(NamedTuple):
    """The images that are divided, and what must stay together."""

    images: tuple[str, ...]  # N paths, each once
    of_images: NDArray[np.int64]  # N, the group of each
    names: tuple[str, ...]  # of the groups
    counts: Counts
    box_images: NDArray[np.int64]  # the image of each box that stays, as a place in `images`
    labels: NDArray[np.int64]  # the category of each of these boxes
    categories: tuple[str, ...]
    sequences: int  # how many groups are sequences


def _group(source: SplitSource, coco: Coco, content: Content) -> _Groups:
    """Group the images by sequence; one without a sequence is a group of its own."""
    there = set(content.images)
    places = {path: number for number, path in enumerate(dict.fromkeys(path for path in coco.images if path in there))}
    names: dict[tuple[bool, str], int] = {}
    of_images = np.empty(len(places), np.int64)
    for path, number in zip(coco.images, coco.sequences.tolist(), strict=True):
        if path in places:
            in_sequence = source.by == "sequence" and number >= 0
            name = (in_sequence, coco.sequence_names[number] if in_sequence else path)
            of_images[places[path]] = names.setdefault(name, len(names))
    dropped = list(content.dropped.get(coco.path, ()))
    of_rows = np.array([places.get(path, -1) for path in coco.images], np.int64)
    owners = np.where(coco.owners >= 0, of_rows[coco.owners], -1)
    staying = (owners >= 0) & (coco.labels >= 0) & ~np.isin(coco.rows, dropped)
    boxes, labels = owners[staying], coco.labels[staying]
    return _Groups(
        tuple(places),
        of_images,
        tuple(f"{'sequence' if is_sequence else 'image'} {name}" for is_sequence, name in names),
        Counts.of(of_images, of_images[boxes], labels),
        boxes,
        labels,
        tuple(category.name for category in coco.categories),
        sum(is_sequence for is_sequence, _ in names),
    )


def _report(source: SplitSource, coco: Coco, groups: _Groups, parts: NDArray[np.int64]) -> list[str]:
    """Say which shares were reached, and which categories a part lacks."""
    number = len(source.ratios)
    images = np.bincount(parts, minlength=number).tolist()
    shares = (
        f"{list_of(part, coco.path)} {counted(count, 'image')} ({count / len(parts):.1%} for {100 * ratio:.3g}%)"
        for (part, ratio), count in zip(source.ratios.items(), images, strict=True)
    )
    alone = len(groups.names) - groups.sequences
    kept = " and ".join(
        counted(count, what) for count, what in ((groups.sequences, "sequence"), (alone, "single image")) if count
    )
    boxes = np.zeros((number, len(groups.categories)), np.int64)
    np.add.at(boxes, (parts[groups.box_images], groups.labels), 1)
    there = boxes[:, boxes.any(axis=0)]
    ratios = np.array(list(source.ratios.values()))[:, None]
    off = float(np.abs(there / there.sum(axis=0) - ratios).mean()) if there.size else 0
    balance = f"; a category's share of boxes is {off:.1%} off on average" if there.size else ""
    return [f"{', '.join(shares)}; {kept}{balance}", *_lacking(source, groups.categories, boxes)]


def _lacking(source: SplitSource, categories: Sequence[str], boxes: NDArray[np.int64]) -> list[str]:
    """Say which categories are not in every part."""
    parts = tuple(source.ratios)
    lacking = [
        f"{categories[column]} (not in {', '.join(parts[row] for row in np.flatnonzero(counts == 0))})"
        for column, counts in enumerate(boxes.T)
        if counts.any() and not counts.all()
    ]
    if not lacking:
        return []
    share = f"{len(lacking):,} of {np.count_nonzero(boxes.any(axis=0)):,} categories"
    return [f"{share} are not in every part, such as {'; '.join(lacking[:_SHOWN])}"]
