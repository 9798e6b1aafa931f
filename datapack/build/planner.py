"""The planner: which layers a version has, given those of its parent.

If the lock has the packing, the parent is not needed at all: a clone without the parent's data makes the same layers,
and so does a later datapack that plans differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from datapack.build.plan import plan
from datapack.catalog.packing import decode
from datapack.errors import DatapackError
from datapack.fetch.history import find_manifest
from datapack.fetch.job import FetchOptions
from datapack.fetch.version import FetchedVersion

if TYPE_CHECKING:
    from datapack.bag.bagit import Bag
    from datapack.build.plan import Group
    from datapack.catalog.lock import Lock
    from datapack.catalog.model import Catalog, Entry
    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

Lines = list[tuple[str, str]]  # of one layer: the path and the sha256 of each file

#: Fetches a version's bag; returns it and the updated lock.
Fetch = Callable[["Entry", FetchOptions, "Lock"], FetchedVersion]


class PlannedVersion(NamedTuple):
    """A version's bag, the files of each of its data layers, lowest first, and the lock that describes the bag."""

    bag: Bag
    groups: list[Group]
    lock: Lock


class PlannedLayers(NamedTuple):
    """The data layers of a version, lowest first, and the lock."""

    layers: list[Lines]
    lock: Lock


@dataclass(frozen=True)
class Planner:
    """Plans the versions of a catalog, which may be each other's parents."""

    workspace: Workspace
    catalog: Catalog
    reporter: Reporter
    fetch: Fetch

    def plan_version(self, entry: Entry, options: FetchOptions, lock: Lock) -> PlannedVersion:
        """Fetch a version's bag and plan its data layers.

        The layers are those in the lock as long as the catalog names the same parent. Otherwise, and with
        ``update_lock``, they are planned.

        Raises:
            CatalogError: the lock does not fit the files.
            DatapackError: the version or one of its ancestors can't be fetched.
        """
        locked = lock.entries.get(entry.reference)
        holds = locked is not None and locked.parent == entry.version.parent and not options.update_lock
        return self._plan(entry, options, lock, locked.packing if locked and holds else None)

    def _plan(
        self, entry: Entry, options: FetchOptions, lock: Lock, packing: str | None, child: Entry | None = None
    ) -> PlannedVersion:
        parent = PlannedLayers([], lock)
        if not packing and entry.parent is not None:  # the parent first: its files need not be fetched again
            parent = self.layers(self.catalog.entry(entry.parent), lock, child=entry)
        bag, lock = self._fetch(entry, options, parent.lock, child)
        files = bag.payload()
        groups = decode(packing, files, entry.reference) if packing else plan(files, parent.layers)
        return PlannedVersion(bag, groups, lock)

    def layers(self, entry: Entry, lock: Lock, child: Entry | None = None) -> PlannedLayers:
        """Return the data layers of a version: those in the lock, which need only its manifest, or planned ones.

        Args:
            entry: the version.
            lock: the lock of all versions.
            child: the version that needs this one as its parent, for errors.

        Raises:
            DatapackError: as `plan_version` does.
        """
        locked = lock.entries.get(entry.reference)
        packing = locked.packing if locked else None
        if locked and packing:
            manifest = find_manifest(self.workspace, entry.reference, locked.digest, self.reporter)
            if manifest:
                return PlannedLayers(decode(packing, list(manifest.hashes.items()), entry.reference), lock)
        planned = self._plan(entry, FetchOptions(), lock, packing, child)
        return PlannedLayers([[(file.path, file.sha256) for file in group] for group in planned.groups], planned.lock)

    def _fetch(self, entry: Entry, options: FetchOptions, lock: Lock, child: Entry | None) -> FetchedVersion:
        try:
            return self.fetch(entry, options, lock)
        except DatapackError as error:
            if child is None:
                raise
            raise type(error)(  # of the same type, and so with the same exit status
                f"its parent {entry.reference} is needed and can't be fetched",
                where=child.reference,
                found=error,
                fix="restore the parent, or remove 'parent' from the catalog: then no layers are shared",
                details=error.details,
            ) from error
