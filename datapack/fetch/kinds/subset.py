"""Take some of the images of another version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.catalog.validation import nearest
from datapack.errors import FetchError
from datapack.fetch.context import SourceResult
from datapack.fetch.derived.content import read_content
from datapack.fetch.derived.links import Links
from datapack.fetch.derived.order import chance, in_order
from datapack.fetch.derived.sizes import shorter_sides
from datapack.files import read_limited
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from datapack.catalog.sources import SubsetSource
    from datapack.fetch.context import FetchContext, Origin
    from datapack.fetch.derived.content import Content
    from datapack.inspect.model import Coco

_LARGEST = 64 << 20  # bytes of a list of names
_SHOWN = 3  # names in an error
_MOST_COMPARED = 20_000  # names, for a suggestion


def fetch_subset(source: SubsetSource, context: FetchContext) -> SourceResult:
    """Link the files, and cut the COCO files."""
    origin = context.origins[source.origin]
    content = read_content(source, origin, context, source.coco)
    images = frozenset(_choose(source, origin, content, _read_names(source, origin, context.catalog_folder)))
    links = Links(source, origin, context)
    for coco in content.cocos:
        if images.isdisjoint(coco.images):
            context.reporter.note(f"{source.label}: {coco.path} lists none of the chosen images, so it is left out")
        else:
            links.add_cut(coco, coco.path, images, content)
    links.add([*sorted(images), *content.others])
    return SourceResult()


def _read_names(source: SubsetSource, origin: Origin, folder: Path) -> tuple[str, ...]:
    """Return the names of images that the source gives itself, or in a text file, one a line."""
    if isinstance(source.names, tuple):
        return source.names
    tops = (folder, origin.bag.path / PAYLOAD)
    top = next((top for top in tops if os.path.lexists(top / source.names)), folder)
    path = top / source.names
    if not path.resolve().is_relative_to(top.resolve()):  # an error would show what is in it
        raise FetchError("a link that leads out of the folder", where=path, fix="copy the list to this place")
    try:
        lines = read_limited(path, _LARGEST, FetchError).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FetchError("not a list of names", where=path, expected="UTF-8") from error
    names = tuple(filter(None, map(str.strip, lines)))
    if not names:
        raise FetchError("the list of names is empty", where=path)
    return names


def _choose(source: SubsetSource, origin: Origin, content: Content, names: Collection[str]) -> Collection[str]:
    """Return the images that fit all conditions, and of these at most ``count``."""
    chosen = set(content.images)
    if names:
        chosen &= _named(source, content, names)
    if source.categories:
        chosen &= _with_categories(source, content.cocos)
    if source.min_size:
        chosen = {path for path, side in shorter_sides(chosen, content.cocos, origin) if side >= source.min_size}
    if source.sequences:
        chosen &= _in_sequences(source, content.sequences, chosen)
    if not chosen:
        raise FetchError("no image fits all conditions", where=source.label)
    if source.count is None:
        return chosen
    if source.count > len(chosen):
        conditions = source.names or source.categories or source.min_size or source.sequences or source.exclude
        raise FetchError(
            f"the subset would be larger than {'what fits its conditions' if conditions else source.subset}",
            where=source.label,
            expected=f"a count of at most {len(chosen):,}",
            found=f"{source.count:,}",
        )
    return in_order(chosen, _kinds(content.cocos, chosen), source.seed)[: source.count]


def _named(source: SubsetSource, content: Content, names: Collection[str]) -> set[str]:
    known: dict[str, set[str]] = {path: {path} for path in content.images}
    for coco in content.cocos:
        for name, path in zip(coco.names, coco.images, strict=True):
            if path:
                known.setdefault(name, set()).add(path)
    _check_known(source, "image", names, known)
    return set().union(*(known[name] for name in names))


def _check_known(source: SubsetSource, what: str, names: Iterable[str | int], known: Collection[str]) -> None:
    unknown = [str(name) for name in names if name not in known]
    if unknown:
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        raise FetchError(
            f"{source.subset} has no such {what}",
            where=source.label,
            found=f"{', '.join(unknown[:_SHOWN])}{more}",
            fix=nearest(unknown[0], known) if len(known) <= _MOST_COMPARED else None,
        )


def _with_categories(source: SubsetSource, cocos: Iterable[Coco]) -> set[str]:
    """Return the images with a box of one of the categories, which have names or ids."""
    wanted = set(source.categories)
    known: set[str | int] = set()
    found: set[str] = set()
    for coco in cocos:
        known |= {value for category in coco.categories for value in category}
        fitting = {number for number, category in enumerate(coco.categories) if wanted & {*category}}
        owners = zip(coco.owners.tolist(), coco.labels.tolist(), strict=True)
        found.update(coco.images[owner] for owner, label in owners if label in fitting and owner >= 0)
    if unknown := [value for value in source.categories if value not in known]:
        names = sorted(str(value) for value in known if isinstance(value, str))
        raise FetchError(
            f"{source.subset} has no category {unknown[0]}",
            where=source.label,
            fix=nearest(str(unknown[0]), names),
        )
    return found


def _in_sequences(source: SubsetSource, sequences: Mapping[str, list[str]], chosen: set[str]) -> set[str]:
    """Return the images of the sequences that the source names, or of as many as it says."""
    if isinstance(source.sequences, int):
        fitting = [name for name, images in sequences.items() if not chosen.isdisjoint(images)]
        if source.sequences > len(fitting):
            raise FetchError(
                f"{source.subset} has fewer sequences",
                where=source.label,
                expected=f"at most {counted(len(fitting), 'sequence')}",
                found=f"{source.sequences:,}",
            )
        names: Iterable[str] = chance(fitting, source.seed)[: source.sequences]
    else:
        _check_known(source, "sequence", source.sequences, sequences)
        names = source.sequences
    return {image for name in names for image in sequences[name]}


def _kinds(cocos: Iterable[Coco], chosen: Collection[str]) -> dict[str, set[str]]:
    """Return the images of each category and of each COCO file, of which none is forgotten."""
    kinds: dict[str, set[str]] = {}
    for coco in cocos:
        kinds.setdefault(f"list {coco.path}", set()).update(path for path in coco.images if path in chosen)
        for owner, label in set(zip(coco.owners.tolist(), coco.labels.tolist(), strict=True)):
            if owner >= 0 and label >= 0 and coco.images[owner] in chosen:
                kinds.setdefault(f"category {coco.categories[label].name}", set()).add(coco.images[owner])
    return kinds
