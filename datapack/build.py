"""Build: from a catalog entry to an image at its target. `build` is the whole tool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from datapack import provenance
from datapack.assemble import Known, assemble
from datapack.base import Base, open_base
from datapack.catalog import Catalog
from datapack.errors import MismatchError
from datapack.fetch import FetchOptions, bring, write_lock
from datapack.git import last_commit
from datapack.hashcache import HashCache
from datapack.image import Image, compose, dataset_folder, labels
from datapack.layers import Layer, data_layers, program_layer, tag_layer
from datapack.lineage import Lineage
from datapack.lock import Lock
from datapack.packing import encode
from datapack.plan import check_one_image
from datapack.targets import Delivery, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from datapack.bag import Bag
    from datapack.catalog import Entry
    from datapack.lock import LockEntry
    from datapack.plan import Group
    from datapack.reference import Reference
    from datapack.report import Reporter
    from datapack.targets import Target
    from datapack.workspace import Workspace


@dataclass(frozen=True)
class Options(FetchOptions):
    """How a build may differ from the usual one."""

    target: str | None = None  # by default oci:dist/<name>-<version>
    base: str | None = None  # by default the catalog's
    verify: bool = False  # hash every file, known or not
    streams: int = 4  # uploads to a registry at once
    insecure: bool = False  # take a registry without TLS, or with a certificate that nobody vouches for
    replace: bool = False  # take the place of another image of the same name in a registry


@dataclass(frozen=True)
class Built:
    """What a build made."""

    bag: Bag
    image: Image
    target: str  # where the image is
    provenance: Path  # where it is written what the image was made of


def build(workspace: Workspace, reference: Reference, options: Options, reporter: Reporter) -> Built:
    """Bring a version from its catalog entry to an image at its target.

    Raises:
        DatapackError: with what is wrong and what to do. Nothing half-made has a final name then, and the same call
            goes on where this one stopped.
    """
    catalog, commit = Catalog.read(workspace.catalog), last_commit(workspace.catalog)
    entry = catalog.entry(reference)
    with workspace.exclusive(f"build {reference}"), HashCache.open(workspace.hashes) as cache:
        base = open_base(options.base or entry.base, workspace.root, workspace.bases, reporter)
        _check_base(workspace, reference, base, options)
        target = _open_target(workspace, entry, base, options, cache, reporter)
        lineage = Lineage(workspace, catalog, reporter, partial(bring, workspace, cache, reporter))
        bag, groups = lineage.pack(entry, options)
        layers = image_layers(bag, reference, groups)
        locked = Lock.read(workspace.lock).entries[reference]
        with target as destination:
            known = Known(bag, reference, cache, locked.layers, options.verify)
            descriptors = assemble(base, layers, destination, known, reporter)
            image = compose(base, reference, labels(entry, base), bag.manifest.digest, layers, descriptors)
            made = _with_image(locked, image, base, entry.version.parent, encode(groups))
            _check_image(reference, locked, made, options)
            statement = provenance.statement(entry, base, bag, image, locked.dvc, commit)
            shown = destination.commit(image, statement)
        write_lock(workspace, reference, made)
        written = provenance.write(workspace, reference, options.target, statement)
    return Built(bag, image, shown, written)


def image_layers(bag: Bag, reference: Reference, groups: Sequence[Group]) -> list[Layer]:
    """Say which layers carry a bag: the import program, the payload, the tag files.

    Raises:
        ImageError: one image can't carry it.
    """
    check_one_image(groups, where=reference)
    folder = dataset_folder(reference)
    return [program_layer(), *data_layers(groups, bag.path, folder), tag_layer(bag.tags, folder)]


def _open_target(
    workspace: Workspace, entry: Entry, base: Base, options: Options, cache: HashCache, reporter: Reporter
) -> AbstractContextManager[Target]:
    delivery = Delivery(
        folder=workspace.root,
        entry=entry,
        base=base,
        cache=cache,
        reporter=reporter,
        streams=options.streams,
        insecure=options.insecure,
        replace=options.replace,
    )
    return open_target(options.target or f"oci:{workspace.dist(entry.reference)}", delivery)


def _with_image(locked: LockEntry, image: Image, base: Base, parent: str | None, packing: str) -> LockEntry:
    """Say in the lock what the image is and how it was made."""
    return replace(
        locked,
        base=base.digest,
        stand_in=base.is_stand_in or None,
        image=image.digest,
        image_id=image.id,
        layers=tuple(layer.digest for layer in image.layers),
        parent=parent,
        packing=packing,
    )


def _check_base(workspace: Workspace, reference: Reference, base: Base, options: Options) -> None:
    """Raise `MismatchError` where a base is not the one that the lock names: before any work is done on it."""
    locked = Lock.read(workspace.lock).entries.get(reference)
    if options.update_lock or locked is None or locked.base in {None, base.digest}:
        return
    raise MismatchError(
        "the base is not the one that the lock names",
        where=reference,
        expected=locked.base,
        found=f"{base.digest} ({base.name})",
        fix="take the base back, or accept it with --update-lock",
    )


def _check_image(reference: Reference, locked: LockEntry, made: LockEntry, options: Options) -> None:
    """Raise `MismatchError` where an image is not the one that the lock names."""
    if options.update_lock or locked.image in {None, made.image}:
        return
    details = []
    if locked.parent != made.parent:
        details.append(f"changed  the parent: {locked.parent or 'none'} is now {made.parent or 'none'}")
    details += [f"added    layer {digest}" for digest in made.layers if digest not in locked.layers]
    details += [f"removed  layer {digest}" for digest in locked.layers if digest not in made.layers]
    raise MismatchError(
        "the image is not the one that the lock names",
        where=reference,
        expected=locked.image,
        found=made.image,
        fix="find out what changed, or accept it with --update-lock",
        details=tuple(details)
        or ("changed  the image's configuration: its labels, its base's name or datapack itself",),
    )
