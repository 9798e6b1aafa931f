"""What a derived version needs to know about the content of its origin. Paths are below the payload."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.bag.missing import MISSING
from datapack.errors import FetchError
from datapack.fetch.derived.drop import find_dropped
from datapack.inspect.forms import form_of_name
from datapack.inspect.survey import read_cocos, read_missing
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.catalog.sources import SplitSource, SubsetSource
    from datapack.fetch.context import FetchContext, Origin
    from datapack.inspect.model import Coco


@dataclass(frozen=True)
class Content:
    """What a version contains without what the derived version leaves out."""

    cocos: tuple[Coco, ...]  # to choose from
    images: tuple[str, ...]  # that these list, sorted; without COCO files, all images, or else all files
    others: tuple[str, ...]  # all files that are neither images nor COCO files
    dropped: Mapping[str, frozenset[int]]  # by COCO file, positions of boxes that are left out

    @cached_property
    def sequences(self) -> dict[str, list[str]]:
        """The images of each sequence."""
        found: dict[str, dict[str, None]] = {}
        for coco in self.cocos:
            for path, number in zip(coco.images, coco.sequences.tolist(), strict=True):
                if path and number >= 0:
                    found.setdefault(coco.sequence_names[number], {})[path] = None
        return {name: list(paths) for name, paths in found.items()}


def read_content(
    source: SubsetSource | SplitSource, origin: Origin, context: FetchContext, chosen: Sequence[str]
) -> Content:
    """Read what another version contains.

    Args:
        source: what it excludes and drops is left out.
        origin: the other version.
        context: the reporter, and the patterns of ``exclude``.
        chosen: the COCO files to read images from; none for all.

    Raises:
        FetchError: it has no such COCO file, or one that can't be read, or nothing is left.
    """
    gone = find_dropped(source, origin, context.reporter)
    every = [path.removeprefix(f"{PAYLOAD}/") for path in origin.bag.manifest.hashes]
    gone_too = {MISSING} if read_missing(origin.bag) else set()  # of this name, a source may have brought a table
    gone_too |= gone.files
    files = [path for path in every if path not in gone_too and not context.excluded.match(path)]
    there = set(files)
    found = read_cocos(origin.bag, context.reporter, folders=origin.entry.image_folders)
    cocos = _chosen([coco for coco in found if coco.path in there], chosen, source, origin)
    listed = {path for coco in cocos for path in coco.images if path in there}
    if cocos and not listed:
        raise FetchError(
            "of the images that the COCO files list, none is there, or all are left out",
            where=source.label,
            found=f"{cocos[0].path} names {next((name for coco in cocos for name in coco.names), 'none')}",
        )
    others = there.difference(coco.path for coco in found)
    images = listed if cocos else {path for path in others if form_of_name(path)} or others
    others = {path for path in others if path not in images and not (cocos and form_of_name(path))}
    _note_left(source, cocos, there, len(there) - len(images) - len(others) - len(found), context)
    return Content(cocos, tuple(sorted(images)), tuple(sorted(others)), gone.boxes)


def _chosen(
    cocos: Iterable[Coco], names: Sequence[str], source: SubsetSource | SplitSource, origin: Origin
) -> tuple[Coco, ...]:
    """Return the COCO files of these names, or all; raise `FetchError` for one that is not there or is broken."""
    known = {coco.path: coco for coco in cocos}
    if unknown := [name for name in names if name not in known]:
        raise FetchError(
            f"{origin.entry.reference} has no COCO file {unknown[0]}",
            where=source.label,
            expected=f"one of {', '.join(known)}" if known else None,
            found=None if known else "no COCO file",
        )
    chosen = tuple(coco for coco in known.values() if not names or coco.path in names)
    for broken in (coco for coco in chosen if coco.problem):
        raise FetchError(
            f"the COCO file {broken.path} can't be cut",
            where=source.label,
            found=broken.problem,
            fix=f"correct it, or leave it out with 'exclude: [{broken.path}]'",
        )
    return chosen


def _note_left(
    source: SubsetSource | SplitSource, cocos: Iterable[Coco], there: set[str], unlisted: int, context: FetchContext
) -> None:
    """Say which rows have no image, and how many images no row has."""
    for coco in cocos:
        absent = [name for name, path in zip(coco.names, coco.images, strict=True) if path not in there]
        if absent:
            context.reporter.note(
                f"{source.label}: {len(absent):,} of the {counted(len(coco), 'image')} that {coco.path} lists are left "
                f"out or not there, such as {absent[0]}; so are their rows"
            )
    if unlisted > 0:
        images = f"{counted(unlisted, 'image')} that no chosen COCO file lists"
        context.reporter.note(f"{source.label}: {images} {'is' if unlisted == 1 else 'are'} left out")
