"""The lineage: which layers a version has, by what its parent has.

Where the lock says it already, neither the parent nor anything of it is needed: a clone without the parent's data makes
the same layers, and so does a later datapack whose plans are others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import DatapackError
from datapack.fetch import FetchOptions
from datapack.history import find_manifest
from datapack.lock import Lock
from datapack.packing import decode
from datapack.plan import Group, PayloadFile, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from datapack.bag import Bag
    from datapack.catalog import Catalog, Entry
    from datapack.report import Reporter
    from datapack.workspace import Workspace

Lines = list[tuple[str, str]]  # of one layer: the path and the sha256 of each file


@dataclass(frozen=True)
class Lineage:
    """The versions of a catalog as each other's parents. ``bring`` gives a version's bag, however it is to be had."""

    workspace: Workspace
    catalog: Catalog
    reporter: Reporter
    bring: Callable[[Entry, FetchOptions], Bag]

    def pack(self, entry: Entry, options: FetchOptions) -> tuple[Bag, list[Group]]:
        """Return a version's bag and the files of each of its data layers.

        They are those of the lock as long as the catalog names the same parent; otherwise, and to update the lock,
        they are planned.

        Raises:
            CatalogError: what the lock says does not fit the files.
            DatapackError: the version can't be had, or its parent, or the parent's parent.
        """
        locked = Lock.read(self.workspace.lock).entries.get(entry.reference)
        holds = locked is not None and locked.parent == entry.version.parent and not options.update_lock
        return self._pack(entry, locked.packing if locked and holds else None, lambda: self.bring(entry, options))

    def _pack(self, entry: Entry, packing: str | None, bring: Callable[[], Bag]) -> tuple[Bag, list[Group]]:
        parent = [] if packing else self._parent_layers(entry)  # first: what it has need not be fetched again
        bag = bring()  # the very one of the lock, where a packing came from there
        files = payload_files(bag)
        return bag, decode(packing, files, entry.reference) if packing else plan(files, parent)

    def layers(self, entry: Entry) -> list[Lines]:
        """Return the data layers of a version: those of the lock, for which its manifest is enough, or planned ones.

        Raises:
            DatapackError: as `pack` does.
        """
        return self._layers(entry, lambda: self.bring(entry, FetchOptions()))

    def _parent_layers(self, entry: Entry) -> list[Lines]:
        if entry.parent is None:
            return []
        parent = self.catalog.entry(entry.parent)
        return self._layers(parent, lambda: self._bring_parent(parent, entry))

    def _layers(self, entry: Entry, bring: Callable[[], Bag]) -> list[Lines]:
        locked = Lock.read(self.workspace.lock).entries.get(entry.reference)
        packing = locked.packing if locked else None
        if locked and packing:
            manifest = find_manifest(self.workspace, entry.reference, locked.digest, self.reporter)
            if manifest:
                return decode(packing, list(manifest.hashes.items()), entry.reference)
        _, groups = self._pack(entry, packing, bring)
        return [[(file.path, file.sha256) for file in group] for group in groups]

    def _bring_parent(self, parent: Entry, child: Entry) -> Bag:
        try:
            return self.bring(parent, FetchOptions())
        except DatapackError as error:
            raise type(error)(  # of its kind, and so with its exit status
                f"its parent {parent.reference} is needed and can't be had",
                where=child.reference,
                found=error,
                fix="bring the parent back, or take 'parent' out of the catalog: then no layer is shared",
                details=error.details,
            ) from error


def payload_files(bag: Bag) -> list[PayloadFile]:
    """List a bag's files, in the order of its manifest."""
    sizes = bag.listing.files
    return [PayloadFile(path, sizes[path].size, sha256) for path, sha256 in bag.manifest.hashes.items()]
