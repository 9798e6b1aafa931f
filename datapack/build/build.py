"""Build: from a catalog entry to an image at its target. `build` is the whole tool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from datapack.bag.bagit import reread_tags
from datapack.build.plan import check_one_image
from datapack.build.planner import Planner
from datapack.build.writer import LayerCache, LayerWriter
from datapack.catalog.git import last_commit
from datapack.catalog.lock import Lock, LockedImage
from datapack.catalog.model import Catalog
from datapack.catalog.packing import encode
from datapack.errors import MismatchError
from datapack.fetch.job import FetchJob, FetchOptions
from datapack.fetch.version import FetchedVersion, fetch_version
from datapack.image.base import Base, open_base
from datapack.image.config import Image, compose, dataset_folder, labels
from datapack.image.layers import Layer, data_layers, program_layer, tag_layer
from datapack.metadata import provenance
from datapack.targets import Delivery, check_target, open_target
from datapack.workspace.cache import HashCache
from datapack.workspace.folder import keep_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.build.plan import Group
    from datapack.catalog.lock import LockEntry
    from datapack.catalog.model import Entry
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.targets import Target
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Options(FetchOptions):
    """Options of a build."""

    target: str | None = None  # by default oci:dist/<name>-<version>
    base: str | None = None  # by default the catalog's
    verify: bool = False  # hash every file, even unchanged ones
    streams: int = 4  # parallel uploads to a registry
    insecure: bool = False  # accept a registry without TLS, or with an untrusted certificate
    replace: bool = False  # replace a different image with the same name in a registry
    allow_public: bool = False  # push a private dataset even into a repository that everybody can read


@dataclass(frozen=True)
class Built:
    """The result of a build."""

    bag: Bag
    image: Image
    target: str  # where the image is
    provenance: Path  # the file that says what the image was made from


def build(workspace: Workspace, reference: Reference, options: Options, reporter: Reporter) -> Built:
    """Build the image of a version, from its catalog entry to the image at its target.

    Raises:
        DatapackError: says what is wrong and what to do. Nothing unfinished has a final name then, and the same call
            resumes where this one stopped.
    """
    catalog, commit = Catalog.read(workspace.catalog), last_commit(workspace.catalog)
    entry = catalog.entry(reference)
    if options.target is not None:
        check_target(options.target, entry)
    with workspace.exclusive(f"build {reference}"), HashCache.open(workspace.hashes) as cache:
        lock = Lock.read(workspace.lock)
        base = open_base(options.base or entry.base, workspace.root, workspace.bases, reporter)
        _check_base(lock.entries.get(reference), reference, base, options)
        target = _open_target(workspace, entry, base, options, cache, reporter)
        planner = Planner(workspace, catalog, reporter, partial(_fetch, workspace, cache, reporter))
        bag, groups, lock = planner.plan_version(entry, options, lock)
        layers = image_layers(bag, reference, groups)
        locked = lock.entries[reference]
        with target as destination:
            if entry.dataset.private and options.target is None:
                _keep_private(workspace.dist(reference))
            writer = LayerWriter(destination, LayerCache(bag, reference, cache, verify=options.verify), reporter)
            descriptors = writer.write(base, layers, locked.image.layers if locked.image else ())
            image = compose(base, reference, labels(entry, base), bag.manifest.digest, layers, descriptors)
            made = _with_image(locked, image, base, entry.version.parent, encode(groups))
            _check_image(reference, locked, made, options)
            statement = provenance.statement(entry, base, bag, image, locked, commit)
            name = destination.commit(image, statement)
        lock.with_entry(reference, made).write_unless(lock, workspace.lock)
        written = provenance.write(workspace, reference, options.target, statement)
    return Built(bag, image, name, written)


def _fetch(
    workspace: Workspace, cache: HashCache, reporter: Reporter, entry: Entry, options: FetchOptions, lock: Lock
) -> FetchedVersion:
    return fetch_version(FetchJob(workspace, cache, reporter, lock, entry, options))


def image_layers(bag: Bag, reference: Reference, groups: Sequence[Group]) -> list[Layer]:
    """Return the layers that carry a bag: the import program, the payload, the tag files.

    Raises:
        ImageError: the bag does not fit into one image.
    """
    check_one_image(groups, where=reference)
    folder = dataset_folder(reference)
    return [program_layer(), *data_layers(groups, bag.path, folder), tag_layer(reread_tags(bag), folder)]


def _open_target(
    workspace: Workspace, entry: Entry, base: Base, options: Options, cache: HashCache, reporter: Reporter
) -> AbstractContextManager[Target]:
    delivery = Delivery(
        folder=workspace.root,
        entry=entry,
        base=base,
        cache=cache,
        reporter=reporter,
        verify=options.verify,
        streams=options.streams,
        insecure=options.insecure,
        replace=options.replace,
        allow_public=options.allow_public,
    )
    default = workspace.dist(entry.reference).relative_to(workspace.root)  # the name of the root may have a colon
    return open_target(options.target or f"oci:{default}", delivery)


def _keep_private(layout: Path) -> None:
    """Let nobody but the owner into the default target, before it holds the data."""
    keep_private(layout if layout.exists() else layout.with_name(f"{layout.name}.partial"))


def _with_image(locked: LockEntry, image: Image, base: Base, parent: str | None, packing: str) -> LockEntry:
    """Add the image, and how it was made, to an entry of the lock."""
    return replace(
        locked,
        base=base.digest,
        stand_in=base.is_stand_in or None,
        parent=parent,
        packing=packing,
        images=(LockedImage(image.digest, image.id, tuple(layer.digest for layer in image.layers)),),
    )


def _check_base(locked: LockEntry | None, reference: Reference, base: Base, options: Options) -> None:
    """Raise `MismatchError` if the base is not the one in the lock, before any work is done."""
    if options.update_lock or locked is None or locked.base in {None, base.digest}:
        return
    raise MismatchError(
        "the base is not the one in the lock",
        where=reference,
        expected=locked.base,
        found=f"{base.digest} ({base.name})",
        fix="restore the locked base, or accept the new one with --update-lock",
    )


def _check_image(reference: Reference, locked: LockEntry, made: LockEntry, options: Options) -> None:
    """Raise `MismatchError` if the image is not the one in the lock."""
    if options.update_lock or not locked.image or not made.image or locked.image.digest == made.image.digest:
        return
    before, after = locked.image.layers, made.image.layers
    details = []
    if locked.parent != made.parent:
        details.append(f"changed  the parent: {locked.parent or 'none'} is now {made.parent or 'none'}")
    details += [f"added    layer {digest}" for digest in after if digest not in before]
    details += [f"removed  layer {digest}" for digest in before if digest not in after]
    raise MismatchError(
        "the image is not the one in the lock",
        where=reference,
        expected=locked.image.digest,
        found=made.image.digest,
        fix="find out what changed, or accept it with --update-lock",
        details=tuple(details)
        or ("changed  the image's configuration: its labels, its base's name or datapack itself",),
    )
