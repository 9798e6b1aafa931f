"""Where the bytes of a version are: datapack must not remove the only copy unasked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.bag.bagit import Bag
from datapack.bag.manifest import PAYLOAD
from datapack.catalog.patterns import Patterns
from datapack.catalog.sources import LocalSource
from datapack.errors import BagError, FetchError, ManifestError
from datapack.fetch.kinds.local import list_local
from datapack.fetch.payload import payload_path
from datapack.files import FileStat
from datapack.versions.listing import built

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog.lock import LockEntry
    from datapack.catalog.model import Entry
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Copies:
    """Which places have a version whole."""

    bag: bool
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
        return self.bag or self.cache or self.image


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
    *,
    cached: bool,
) -> Copies:
    """Find the copies of a version. What can't be read or asked counts as none.

    Args:
        workspace: where it is.
        reference: the version.
        entry: its catalog entry, if it has one.
        locked: its entry in the lock, if it has one.
        cached: whether DVC's cache has it whole.
    """
    bag = open_bag(workspace.bag(reference))
    return Copies(
        bag=bag is not None,
        cache=cached,
        origins=entry is not None and _has_origins(workspace, entry, locked),
        sources=bag is not None and entry is not None and _has_sources(workspace, entry, bag),
        image=built(workspace, reference, locked.image.digest if locked and locked.image else None) == "here",
    )


def _has_sources(workspace: Workspace, entry: Entry, bag: Bag) -> bool:
    """Whether every file of a bag is that of a local source: with the same name, size and time."""
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
    return found == dict(bag.listing.files)


def _has_origins(workspace: Workspace, entry: Entry, locked: LockEntry | None) -> bool:
    """Whether all files are from other versions whose bags are here, as they were when it was made."""
    if locked is None or not all(source.origin for source in entry.sources):
        return False
    bags = {str(origin.reference): open_bag(workspace.bag(origin.reference)) for origin in entry.origins}
    return all(bag and locked.origins.get(name) == bag.manifest.digest for name, bag in bags.items())
