"""Fetch: from a catalog entry to a bag that DVC and the lock know. It is the first half of a build."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datapack import versioning
from datapack.catalog import Catalog
from datapack.hashcache import HashCache
from datapack.history import keep_manifest
from datapack.lock import Lock, LockEntry
from datapack.obtain import Obtaining, obtain

if TYPE_CHECKING:
    from datapack.bag import Bag
    from datapack.catalog import Entry
    from datapack.reference import Reference
    from datapack.report import Reporter
    from datapack.workspace import Workspace


@dataclass(frozen=True)
class FetchOptions:
    """How a fetch may differ from the usual one."""

    refresh: bool = False  # ask the sources although a bag is here
    update_lock: bool = False  # accept a result that differs from the lock
    push_data: bool = False  # send the bag to DVC's remote


def fetch(workspace: Workspace, reference: Reference, options: FetchOptions, reporter: Reporter) -> Bag:
    """Bring a version from its catalog entry to a bag that DVC and the lock know.

    Raises:
        DatapackError: with what is wrong and what to do; the same call goes on where this one stopped.
    """
    entry = Catalog.read(workspace.catalog).entry(reference)
    with workspace.exclusive(f"fetch {reference}"), HashCache.open(workspace.hashes) as cache:
        return bring(workspace, cache, reporter, entry, options)


def bring(workspace: Workspace, cache: HashCache, reporter: Reporter, entry: Entry, options: FetchOptions) -> Bag:
    """Do what `fetch` does, for who holds the workspace already."""
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
    write_lock(workspace, entry.reference, replace(locked, dvc=tracked, catalog=entry.fingerprint))
    keep_manifest(workspace, bag.manifest)
    return bag


def write_lock(workspace: Workspace, reference: Reference, entry: LockEntry) -> None:
    """Put one version's entry into the lock; where nothing changes, nothing is written."""
    lock = Lock.read(workspace.lock)
    if lock.entries.get(reference) != entry:
        lock.with_entry(reference, entry).write(workspace.lock)
