"""The image of a version, as the lock describes it: its layers, what is in each, and which the parent has too."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from datapack.bag.bagit import reread_tags
from datapack.catalog.packing import decode
from datapack.image.config import dataset_folder
from datapack.image.layers import data_layers, program_layer, tag_layer
from datapack.page.cells import Listing, bytes_of, code
from datapack.report.files import below_payload
from datapack.text import counted, short_digest, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.bag.bagit import Bag, PayloadFile
    from datapack.catalog.lock import LockEntry
    from datapack.page.cells import Cell
    from datapack.reference import Reference

_NAMED = 3


@dataclass(frozen=True)
class ImageFacts:
    """An image that was built."""

    digest: str
    size: int  # of all layers above the base
    base: str
    is_stand_in: bool
    kept: str  # which layers the parent has too
    layers: Listing


def image_facts(bag: Bag, reference: Reference, locked: LockEntry, parent: LockEntry | None) -> ImageFacts | None:
    """Return the facts of a version's image; None if it is not built, or if the bag is no longer the one in it.

    Raises:
        CatalogError: the packing in the lock does not fit the bag's files.
    """
    if locked.image is None or locked.packing is None or locked.digest != bag.manifest.digest:
        return None
    groups = decode(locked.packing, bag.payload(), reference)
    folder = dataset_folder(reference)
    made = [program_layer(), *data_layers(groups, Path(), folder), tag_layer(reread_tags(bag), folder)]
    digests = locked.image.layers[-len(made) :]
    if len(digests) < len(made):  # somebody changed the lock
        return None
    inside: list[Cell] = ["the import program", *map(_inside, groups), "the bag's tag files"]
    known = {digest for image in (parent.images if parent else ()) for digest in image.layers}
    rows: list[Sequence[Cell]] = [
        (what, bytes_of(layer.size), len(group), "yes" if digest in known else "no", short_digest(digest))
        for what, layer, group, digest in zip(inside, made, [[], *groups, []], digests, strict=True)
    ]
    new = [layer.size for layer, digest in zip(made, digests, strict=True) if digest not in known]
    total = sum(layer.size for layer in made)
    same = len(made) - len(new)
    kept = f"The parent has {same:,} of {counted(len(made), 'layer')} too: a push sends {size(sum(new))}."
    heads = ("Layer, lowest first", "Size", "Files", "In the parent", "Digest")
    return ImageFacts(
        digest=locked.image.digest,
        size=total,
        base=locked.base or "",
        is_stand_in=bool(locked.stand_in),
        kept=kept if known else "",
        layers=Listing("Layers above the base", heads, rows),
    )


def _inside(group: Sequence[PayloadFile]) -> Markup:
    """Say in which folders the files of a layer are."""
    folders = Counter(below_payload(file.path).rpartition("/")[0] for file in group)
    ordered = sorted(folders, key=lambda folder: (-folders[folder], folder))
    if len(group) <= _NAMED:
        return Markup(", ").join(code(below_payload(file.path), 60) for file in group)
    named = Markup(", ").join(code(f"{folder}/", 60) if folder else "the top folder" for folder in ordered[:_NAMED])
    left = len(ordered) - _NAMED
    return Markup("{} and {}").format(named, counted(left, "more folder")) if left > 0 else named
