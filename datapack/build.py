"""Build: from a catalog entry to an image at its target. `build` is the whole tool; `fetch` is its first half."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datapack import versioning
from datapack.base import Base, open_base
from datapack.catalog import Catalog
from datapack.errors import MismatchError
from datapack.files import atomic_writer
from datapack.hashcache import HashCache, KnownFile
from datapack.image import Image, compose, dataset_folder, labels
from datapack.layers import Layer, Part, Writable, data_layers, program_layer, tag_layer
from datapack.lock import Lock, LockEntry
from datapack.obtain import Obtaining, obtain
from datapack.plan import PayloadFile, check_one_image, plan
from datapack.targets import Target, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from datapack.bag import Bag
    from datapack.catalog import Entry
    from datapack.manifest import FileStat
    from datapack.oci import Descriptor
    from datapack.reference import Reference
    from datapack.report import Reporter
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


@dataclass(frozen=True)
class Built:
    """What a build made: the bag, the image, and where the image is."""

    bag: Bag
    image: Image
    target: str


def build(workspace: Workspace, reference: Reference, options: Options, reporter: Reporter) -> Built:
    """Bring a version from its catalog entry to an image at its target.

    Raises:
        DatapackError: with what is wrong and what to do. Nothing half-made has a final name then, and the same call
            goes on where this one stopped.
    """
    entry = Catalog.read(workspace.catalog).entry(reference)
    target = open_target(options.target or f"oci:{workspace.dist(reference)}", workspace.root, reference)
    with workspace.exclusive(f"build {reference}"), HashCache.open(workspace.hashes) as cache:
        base = open_base(options.base or entry.base, workspace.root, workspace.bases, reporter)
        bag = _fetch(workspace, entry, options, cache, reporter)
        layers = image_layers(bag, reference)
        with target as destination:
            descriptors = _write(base, layers, destination, _Known(bag, reference, cache, options.verify), reporter)
            image = compose(base, reference, labels(entry, base), bag.manifest.digest, layers, descriptors)
            _check_image(workspace, image, base, options)
            shown = destination.commit(image)
        _lock_image(workspace, image, base)
    return Built(bag, image, shown)


def fetch(workspace: Workspace, reference: Reference, options: Options, reporter: Reporter) -> Bag:
    """Bring a version from its catalog entry to a bag that DVC and the lock know; it fails as `build` does."""
    entry = Catalog.read(workspace.catalog).entry(reference)
    with workspace.exclusive(f"fetch {reference}"), HashCache.open(workspace.hashes) as cache:
        return _fetch(workspace, entry, options, cache, reporter)


def image_layers(bag: Bag, reference: Reference) -> list[Layer]:
    """Say which layers carry a bag: the import program, the payload, the tag files."""
    folder = dataset_folder(reference)
    files = [PayloadFile(path, bag.listing.files[path].size, sha256) for path, sha256 in bag.manifest.hashes.items()]
    groups = plan(files)
    check_one_image(groups, where=reference)
    return [program_layer(), *data_layers(groups, bag.path, folder), tag_layer(bag.tags, folder)]


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


def _keep_manifest(workspace: Workspace, bag: Bag) -> None:
    """Keep a copy of what the lock names by its digest alone, to show what changed since."""
    kept = workspace.manifest(bag.manifest.digest)
    if not kept.exists():
        with atomic_writer(kept) as file:
            file.write(bag.manifest.content)


class _Known:
    """Which layers need not be read: those whose files are all as they were when they were hashed last."""

    def __init__(self, bag: Bag, reference: Reference, cache: HashCache, verify: bool) -> None:
        self._bag, self._reference, self._cache = bag, reference, cache
        self._files = {} if verify else cache.files(reference)

    def digest(self, layer: Layer) -> str:
        """Return a layer's digest if it is known without reading its files, or nothing."""
        return (self._cache.layer(layer.key) or "") if all(map(self._is_known, layer.sources)) else ""

    def _is_known(self, source: Path) -> bool:
        path = str(source.relative_to(self._bag.path))
        return self._files.get(path) == KnownFile(self._bag.listing.files[path], self._bag.manifest.hashes[path])

    def found(self, source: Path, stat: FileStat, sha256: str) -> None:
        """Remember a file that was read and is right."""
        self._cache.record(self._reference, str(source.relative_to(self._bag.path)), stat, sha256)

    def written(self, layer: Layer, digest: str) -> None:
        """Remember the digest of a layer that was written."""
        self._cache.record_layer(layer.key, digest)


def _write(base: Base, layers: Sequence[Layer], target: Target, known: _Known, reporter: Reporter) -> list[Descriptor]:
    """Bring the base's layers and ours to the target, several at once; return the descriptors of ours."""
    with reporter.progress("writing layers", sum(layer.size for layer in layers), "B") as advance:

        def part(layer: Layer) -> Part:
            def write(out: Writable) -> str:
                digest = layer.write(out, advance=advance, found=known.found)
                known.written(layer, digest)
                return digest

            return Part(layer.media_type, layer.size, known.digest(layer), write)

        parts = [*base.parts(), *map(part, layers)]
        return _add_all(parts, target)[-len(layers) :]


def _add_all(parts: Sequence[Part], target: Target) -> list[Descriptor]:
    """Add parts in their order, as many at once as the target takes; after the first failure no other is begun."""
    with ThreadPoolExecutor(target.streams) as pool:
        added = [pool.submit(target.add, part) for part in parts]
        try:
            return [future.result() for future in added]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check_image(workspace: Workspace, image: Image, base: Base, options: Options) -> None:
    """Raise `MismatchError` where an image is not the one that the lock names."""
    locked = Lock.read(workspace.lock).entries[image.reference]
    if options.update_lock or locked.image in {None, image.digest}:
        return
    details = []
    if locked.base != base.digest:
        details.append(f"changed  the base: {locked.base} is now {base.digest}")
    layers = [layer.digest for layer in image.layers]
    details += [f"added    layer {digest}" for digest in layers if digest not in locked.layers]
    details += [f"removed  layer {digest}" for digest in locked.layers if digest not in layers]
    raise MismatchError(
        "the image is not the one that the lock names",
        where=image.reference,
        expected=locked.image,
        found=image.digest,
        fix="find out what changed, or accept it with --update-lock",
        details=tuple(details)
        or ("changed  the image's configuration: its labels, its base's settings or datapack itself",),
    )


def _lock_image(workspace: Workspace, image: Image, base: Base) -> None:
    locked = Lock.read(workspace.lock).entries[image.reference]
    made = replace(
        locked,
        base=base.digest,
        image=image.digest,
        image_id=image.id,
        layers=tuple(layer.digest for layer in image.layers),
    )
    _write_lock(workspace, image.reference, made)
