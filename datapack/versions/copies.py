"""Where the bytes of a version are: datapack must not remove the only copy unasked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.bag.bagit import Bag
from datapack.bag.manifest import PAYLOAD
from datapack.bag.model_facts import MODEL
from datapack.catalog.patterns import Patterns
from datapack.catalog.sources import LocalSource
from datapack.errors import BagError, FetchError, ManifestError
from datapack.fetch.kinds.local import list_local
from datapack.fetch.models.weights import SCAN
from datapack.fetch.payload import payload_path
from datapack.files import FileStat
from datapack.hashing import hash_files
from datapack.versions.listing import built
from datapack.workspace.cache import HashCache

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.catalog.lock import LockEntry
    from datapack.catalog.model import Entry
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Copies:
    """Which places have a version whole."""

    bag: bool
    damaged_bag: bool
    cache: bool  # DVC's
    sources: bool  # files of this machine, unchanged since they were copied
    origins: bool  # the bags that it is made from
    image: bool  # in the default target

    def staying(self, *, bag: bool, cache: bool, image: bool) -> tuple[str, ...]:
        """Name the copies that stay if these are removed."""
        stay = {
            "the bag": self.bag and not bag,
            "DVC's cache": self.cache and not cache,
            "the image": self.image and not image,
            "the local sources": self.sources,
            "the versions that it is made from": self.origins,
        }
        return tuple(name for name, here in stay.items() if here)

    @property
    def is_here(self) -> bool:
        """Whether this machine has one that could be removed."""
        return self.bag or self.damaged_bag or self.cache or self.image


def open_bag(path: Path) -> Bag | None:
    """Open a bag if it is here and complete by the names and sizes of its files."""
    try:
        return Bag.open(path) if path.exists() else None
    except (BagError, ManifestError):
        return None


def find_copies(
    workspace: Workspace,
    reference: Reference,
    entry: Entry | None,
    locked: LockEntry | None,
    reporter: Reporter,
    *,
    cached: bool,
) -> Copies:
    """Find the copies of a version. What can't be read or asked counts as none.

    Args:
        workspace: where it is.
        reference: the version.
        entry: its catalog entry, if it has one.
        locked: its entry in the lock, if it has one.
        reporter: shows the progress where files are read.
        cached: whether DVC's cache has it whole.
    """

    def find_bag(reference: Reference) -> Bag | None:
        bag = open_bag(workspace.bag(reference))
        return bag if bag and _is_sound(workspace, reference, bag, reporter) else None

    bag = find_bag(reference)
    origins = {str(origin.reference): find_bag(origin.reference) for origin in entry.origins} if entry else {}
    return Copies(
        bag=bag is not None,
        damaged_bag=bag is None and open_bag(workspace.bag(reference)) is not None,
        cache=cached,
        origins=entry is not None and _has_origins(entry, locked, origins),
        sources=bag is not None and entry is not None and _has_sources(workspace, entry, bag),
        image=built(workspace, reference, locked.image.digest if locked and locked.image else None) == "here",
    )


def _is_sound(workspace: Workspace, reference: Reference, bag: Bag, reporter: Reporter) -> bool:
    """Whether a bag's files have the bytes that its manifest says; those that did not change since are not read.

    A file may be one with that of a local source or of another version: who changes one changes them all.
    """
    unknown = set(bag.manifest.hashes)
    if workspace.hashes.exists():
        with HashCache.open(workspace.hashes) as cache:
            unknown = cache.unknown(reference, bag.manifest.hashes, bag.listing.files)
    total = sum(bag.listing.files[path].size for path in unknown)
    with reporter.progress(f"checking {reference}", total, "B") as advance:
        try:
            hashed = hash_files(bag.path, sorted(unknown), advance=advance)
            return all(bag.manifest.hashes[path] == sha256 for path, sha256 in hashed)
        except (BagError, OSError):
            return False


def _has_sources(workspace: Workspace, entry: Entry, bag: Bag) -> bool:
    """Whether every file of a bag is that of a local source: with the same name, size and time.

    What datapack itself writes about a model, it can write again.
    """
    if not all(isinstance(source, LocalSource) for source in entry.sources):
        return False
    found: dict[str, FileStat] = {}
    try:
        for source in entry.sources:
            if isinstance(source, LocalSource):
                for name, path in list_local(source, workspace.root, bag.path, Patterns(source.exclude)):
                    found[f"{PAYLOAD}/{payload_path(source.into, name)}"] = FileStat.of(
                        workspace.root.joinpath(path).lstat()
                    )
    except (FetchError, OSError):
        return False
    ours = {f"{PAYLOAD}/{name}" for name in (MODEL, SCAN)} if entry.is_model else set()
    return found == {path: stat for path, stat in bag.listing.files.items() if path not in ours}


def _has_origins(entry: Entry, locked: LockEntry | None, bags: Mapping[str, Bag | None]) -> bool:
    """Whether all files are from other versions whose bags are here, as they were when it was made."""
    if locked is None or not all(source.origin for source in entry.sources):
        return False
    return all(bag and locked.origins.get(name) == bag.manifest.digest for name, bag in bags.items())
