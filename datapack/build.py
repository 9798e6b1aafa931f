"""Build: from a catalog entry to an image at its target. `build` is the whole tool; `fetch` is its first half."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datapack import provenance, versioning
from datapack.assemble import Known, assemble
from datapack.base import Base, open_base
from datapack.catalog import Catalog
from datapack.errors import MismatchError
from datapack.files import atomic_writer
from datapack.git import last_commit
from datapack.hashcache import HashCache
from datapack.image import Image, compose, dataset_folder, labels
from datapack.layers import Layer, PayloadFile, plan_data, program_layer, tag_layer
from datapack.lock import Lock, LockEntry
from datapack.obtain import Obtaining, obtain
from datapack.targets import Delivery, open_target

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from datapack.bag import Bag
    from datapack.catalog import Entry
    from datapack.reference import Reference
    from datapack.report import Reporter
    from datapack.targets import Target
    from datapack.workspace import Workspace


@dataclass(frozen=True)
class Options:
    """How a build may differ from the usual one."""

    target: str | None = None  # by default oci:dist/<name>-<version>
    base: str | None = None  # by default the catalog's
    refresh: bool = False  # ask the sources although a bag is here
    update_lock: bool = False  # accept a result that differs from the lock
    verify: bool = False  # hash every file, known or not
    push_data: bool = False  # send the bag to DVC's remote
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
    entry, commit = Catalog.read(workspace.catalog).entry(reference), last_commit(workspace.catalog)
    with workspace.exclusive(f"build {reference}"), HashCache.open(workspace.hashes) as cache:
        base = open_base(options.base or entry.base, workspace.root, workspace.bases, reporter)
        _check_base(workspace, reference, base, options)
        target = _open_target(workspace, entry, base, options, cache, reporter)
        bag = _fetch(workspace, entry, options, cache, reporter)
        layers = plan(bag, reference)
        with target as destination:
            known = Known(bag, reference, cache, Lock.read(workspace.lock).entries[reference].layers, options.verify)
            descriptors = assemble(base, layers, destination, known, reporter)
            image = compose(base, reference, labels(entry, base), bag.manifest.digest, layers, descriptors)
            _check_image(workspace, image, options)
            statement = provenance.statement(entry, base, bag, image, _tracked(workspace, reference), commit)
            shown = destination.commit(image, statement)
        _lock_image(workspace, image, base)
        written = provenance.write(workspace, reference, options.target, statement)
    return Built(bag, image, shown, written)


def fetch(workspace: Workspace, reference: Reference, options: Options, reporter: Reporter) -> Bag:
    """Bring a version from its catalog entry to a bag that DVC and the lock know; it fails as `build` does."""
    entry = Catalog.read(workspace.catalog).entry(reference)
    with workspace.exclusive(f"fetch {reference}"), HashCache.open(workspace.hashes) as cache:
        return _fetch(workspace, entry, options, cache, reporter)


def plan(bag: Bag, reference: Reference) -> list[Layer]:
    """Say which layers carry a bag: the import program, the payload, the tag files."""
    folder = dataset_folder(reference)
    files = [PayloadFile(path, bag.listing.files[path].size, sha256) for path, sha256 in bag.manifest.hashes.items()]
    return [program_layer(), *plan_data(files, bag.path, folder), tag_layer(bag.tags, folder)]


def _fetch(workspace: Workspace, entry: Entry, options: Options, cache: HashCache, reporter: Reporter) -> Bag:
    locked = Lock.read(workspace.lock).entries.get(entry.reference)
    bag = obtain(Obtaining(workspace, entry, locked, cache, reporter, options.refresh, options.update_lock))
    if locked is None or locked.digest != bag.manifest.digest:
        locked = LockEntry(digest=bag.manifest.digest, bytes=bag.bytes, files=bag.files)
    pointer = workspace.pointer(entry.reference)
    tracked = versioning.tracked_hash(pointer)
    if options.push_data or tracked is None or tracked != locked.dvc:
        tracked = versioning.add(workspace, bag, reporter)
    if options.push_data:
        versioning.push(workspace, pointer, reporter)
    _write_lock(workspace, entry.reference, replace(locked, dvc=tracked, catalog=entry.fingerprint))
    _keep_manifest(workspace, bag)
    return bag


def _write_lock(workspace: Workspace, reference: Reference, entry: LockEntry) -> None:
    lock = Lock.read(workspace.lock)
    if lock.entries.get(reference) != entry:
        lock.with_entry(reference, entry).write(workspace.lock)


def _tracked(workspace: Workspace, reference: Reference) -> str | None:
    return Lock.read(workspace.lock).entries[reference].dvc


def _keep_manifest(workspace: Workspace, bag: Bag) -> None:
    """Keep a copy of what the lock names by its digest alone, to show what changed since."""
    kept = workspace.manifest(bag.manifest.digest)
    if not kept.exists():
        with atomic_writer(kept) as file:
            file.write(bag.manifest.content)


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


def _check_image(workspace: Workspace, image: Image, options: Options) -> None:
    """Raise `MismatchError` where an image is not the one that the lock names."""
    locked = Lock.read(workspace.lock).entries[image.reference]
    if options.update_lock or locked.image in {None, image.digest}:
        return
    layers = [layer.digest for layer in image.layers]
    details = [f"added    layer {digest}" for digest in layers if digest not in locked.layers]
    details += [f"removed  layer {digest}" for digest in locked.layers if digest not in layers]
    raise MismatchError(
        "the image is not the one that the lock names",
        where=image.reference,
        expected=locked.image,
        found=image.digest,
        fix="find out what changed, or accept it with --update-lock",
        details=tuple(details)
        or ("changed  the image's configuration: its labels, its base's name or datapack itself",),
    )


def _lock_image(workspace: Workspace, image: Image, base: Base) -> None:
    locked = Lock.read(workspace.lock).entries[image.reference]
    made = replace(
        locked,
        base=base.digest,
        stand_in=base.is_stand_in or None,
        image=image.digest,
        image_id=image.id,
        layers=tuple(layer.digest for layer in image.layers),
    )
    _write_lock(workspace, image.reference, made)
