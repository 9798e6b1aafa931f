"""Build: from a catalog entry to an image at its target. `build` is the whole tool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from datapack.base import Base, open_base
from datapack.catalog import Catalog
from datapack.errors import MismatchError
from datapack.fetch import FetchOptions, bring, write_lock
from datapack.hashcache import HashCache, KnownFile
from datapack.image import Image, compose, dataset_folder, labels
from datapack.layers import Layer, Part, Writable, data_layers, program_layer, tag_layer
from datapack.lineage import Lineage
from datapack.lock import Lock
from datapack.packing import encode
from datapack.plan import check_one_image
from datapack.targets import Target, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from datapack.bag import Bag
    from datapack.lock import LockEntry
    from datapack.manifest import FileStat
    from datapack.oci import Descriptor
    from datapack.plan import Group
    from datapack.reference import Reference
    from datapack.report import Reporter
    from datapack.workspace import Workspace


@dataclass(frozen=True)
class Options(FetchOptions):
    """How a build may differ from the usual one."""

    target: str | None = None  # by default oci:dist/<name>-<version>
    base: str | None = None  # by default the catalog's
    verify: bool = False  # hash every file, known or not


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
    catalog = Catalog.read(workspace.catalog)
    entry = catalog.entry(reference)
    target = open_target(options.target or f"oci:{workspace.dist(reference)}", workspace.root, reference)
    with workspace.exclusive(f"build {reference}"), HashCache.open(workspace.hashes) as cache:
        base = open_base(options.base or entry.base, workspace.root, workspace.bases, reporter)
        lineage = Lineage(workspace, catalog, reporter, partial(bring, workspace, cache, reporter))
        bag, groups = lineage.pack(entry, options)
        layers = image_layers(bag, reference, groups)
        with target as destination:
            descriptors = _write(base, layers, destination, _Known(bag, reference, cache, options.verify), reporter)
            image = compose(base, reference, labels(entry, base), bag.manifest.digest, layers, descriptors)
            locked = Lock.read(workspace.lock).entries[reference]
            made = _with_image(locked, image, base.digest, entry.version.parent, encode(groups))
            _check_image(reference, locked, made, options)
            shown = destination.commit(image)
        write_lock(workspace, reference, made)
    return Built(bag, image, shown)


def image_layers(bag: Bag, reference: Reference, groups: Sequence[Group]) -> list[Layer]:
    """Say which layers carry a bag: the import program, the payload, the tag files.

    Raises:
        ImageError: one image can't carry it.
    """
    check_one_image(groups, where=reference)
    folder = dataset_folder(reference)
    return [program_layer(), *data_layers(groups, bag.path, folder), tag_layer(bag.tags, folder)]


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


def _with_image(locked: LockEntry, image: Image, base: str, parent: str | None, packing: str) -> LockEntry:
    """Say in the lock what the image is and how it was made."""
    return replace(
        locked,
        base=base,
        image=image.digest,
        image_id=image.id,
        layers=tuple(layer.digest for layer in image.layers),
        parent=parent,
        packing=packing,
    )


def _check_image(reference: Reference, locked: LockEntry, made: LockEntry, options: Options) -> None:
    """Raise `MismatchError` where an image is not the one that the lock names."""
    if options.update_lock or locked.image in {None, made.image}:
        return
    details = []
    if locked.base != made.base:
        details.append(f"changed  the base: {locked.base} is now {made.base}")
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
        or ("changed  the image's configuration: its labels, its base's settings or datapack itself",),
    )
