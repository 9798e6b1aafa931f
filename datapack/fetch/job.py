"""The job of fetching one version: what to fetch, where to put it, and what the lock expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.bag.changes import Changes
from datapack.bag.manifest import Manifest
from datapack.bag.tag_file import read_tag_file
from datapack.errors import MismatchError

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog.lock import Lock, LockEntry
    from datapack.catalog.model import Entry
    from datapack.progress import Reporter
    from datapack.workspace.cache import HashCache
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class FetchOptions:
    """The options of a fetch."""

    refresh: bool = False  # fetch from the sources even if the bag is here
    update_lock: bool = False  # accept a result that differs from the lock
    push_data: bool = False  # push the bag to DVC's remote
    strict: bool = False  # fail if the checks find errors or warnings that the catalog does not silence


@dataclass(frozen=True)
class FetchJob:
    """Everything needed to fetch one version into a workspace that the caller holds."""

    workspace: Workspace
    cache: HashCache
    reporter: Reporter
    lock: Lock
    entry: Entry
    options: FetchOptions

    @property
    def locked(self) -> LockEntry | None:
        """The version's entry in the lock."""
        return self.lock.entries.get(self.entry.reference)

    @property
    def path(self) -> Path:
        return self.workspace.bag(self.entry.reference)

    @property
    def partial(self) -> Path:
        return self.workspace.partial_bag(self.entry.reference)

    @property
    def staging(self) -> Path:
        """The folder where links to the files of an earlier bag are made; no version has a ``+`` in its name."""
        return self.partial.with_name(f"{self.entry.reference.version}+staging.partial")

    @property
    def pointer(self) -> Path:
        return self.workspace.pointer(self.entry.reference)

    @property
    def must_ask_sources(self) -> bool:
        """Whether the bag here or in DVC may differ from what the catalog describes now."""
        return self.options.refresh or is_stale(self.entry, self.lock)

    def check_digest(self, manifest: Manifest) -> None:
        """Raise `MismatchError`, with a line per file, if a manifest is not the one in the lock."""
        locked = self.locked
        if locked is None or self.options.update_lock or locked.digest == manifest.digest:
            return
        kept = self.workspace.manifest(locked.digest)
        before = Manifest.parse(read_tag_file(kept), where=kept) if kept.exists() else None
        raise MismatchError(
            "the data differs from the lock",
            where=self.entry.reference,
            expected=locked.digest,
            found=manifest.digest,
            fix="add a new version, or accept the change with --update-lock",
            details=Changes.between(before, manifest).lines() if before else (),
        )


def is_stale(entry: Entry, lock: Lock) -> bool:
    """Whether a version's sources or its origins changed since it was locked."""
    locked = lock.entries.get(entry.reference)
    if locked is None:
        return False
    now = {origin.reference: lock.entries.get(origin.reference) for origin in entry.origins}
    return (
        locked.catalog not in {None, entry.fingerprint}
        or any(other and locked.origins.get(str(origin)) != other.digest for origin, other in now.items())
        or any(is_stale(origin, lock) for origin in entry.origins)
    )
