"""Fetch a version: make the bag that its catalog entry describes, track it with DVC and lock it.

This is the first half of a build.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.changes import compare_bytes
from datapack.catalog.lock import Lock, LockEntry
from datapack.catalog.model import Catalog
from datapack.catalog.origins import forbids_adaptations
from datapack.errors import DatapackError, MismatchError, VersioningError
from datapack.fetch.bag import FetchedOrigins, get_bag
from datapack.fetch.context import Origin
from datapack.fetch.dvc import tracking
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.findings import note_findings
from datapack.fetch.history import keep_manifest
from datapack.fetch.job import FetchJob, FetchOptions
from datapack.files import disk_errors
from datapack.workspace.cache import HashCache

if TYPE_CHECKING:
    from datapack.bag.bagit import Bag
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


class FetchedVersion(NamedTuple):
    """A version's bag, and the lock that describes it."""

    bag: Bag
    lock: Lock


def fetch(workspace: Workspace, reference: Reference, options: FetchOptions, reporter: Reporter) -> Bag:
    """Fetch a version; return its bag.

    Raises:
        DatapackError: a step failed; the same call resumes where this one stopped.
    """
    entry = Catalog.read(workspace.catalog).entry(reference)
    with workspace.exclusive(f"fetch {reference}"), HashCache.open(workspace.hashes) as cache:
        lock = Lock.read(workspace.lock)
        return fetch_version(FetchJob(workspace, cache, reporter, lock, entry, options)).bag


def fetch_version(job: FetchJob) -> FetchedVersion:
    """Fetch a version into a workspace that the caller holds; the lock is on disk when this returns.

    What the checks find in the data is noted; with ``strict`` it is an error, and the bag stays.
    """
    fetched = _fetch_unchecked(job)
    note_findings(job, fetched.bag)
    return fetched


def _fetch_unchecked(job: FetchJob) -> FetchedVersion:
    """Fetch a version; do not check its data."""
    _note_licences(job)
    got = get_bag(job, _fetch_origins)
    bag, job = got.bag, replace(job, lock=got.lock)
    locked = job.locked
    if locked is None or locked.digest != bag.manifest.digest:
        locked = LockEntry(digest=bag.manifest.digest, bytes=bag.bytes, files=bag.files)
    if got.is_new:
        locked = replace(locked, origins=_digests(job))
    entry = replace(locked, dvc=_track(job, bag, locked, is_new=got.is_new), catalog=job.entry.fingerprint)
    lock = job.lock.with_entry(job.entry.reference, entry)
    lock.write_unless(job.lock, job.workspace.lock)
    keep_manifest(job.workspace, bag.manifest)
    return FetchedVersion(bag, lock)


def _note_licences(job: FetchJob) -> None:
    """Say that a derived version must not be shared where the licence of what it is derived from forbids that."""
    for origin in job.entry.origins:
        if forbids_adaptations(origin.dataset.licence):
            job.reporter.note(
                f"{job.entry.reference} is an adaptation of {origin.reference}, whose licence does not let you share "
                f"adaptations: {origin.dataset.licence}"
            )


def _fetch_origins(job: FetchJob) -> FetchedOrigins:
    """Fetch the versions that a version is derived from, if they are not here."""
    origins: dict[Reference, Origin] = {}
    for entry in job.entry.origins:
        try:
            fetched = _fetch_unchecked(replace(job, entry=entry, options=FetchOptions()))
        except DatapackError as error:
            raise type(error)(  # of the same type, and so with the same exit status
                f"{entry.reference}, which it is derived from, can't be fetched",
                where=job.entry.reference,
                found=error,
                details=error.details,
            ) from error
        job = replace(job, lock=fetched.lock)
        origins[entry.reference] = Origin(entry, fetched.bag)
    return FetchedOrigins(origins, job.lock)


def _digests(job: FetchJob) -> dict[str, str]:
    """Return the dataset digests of the versions that a new bag is derived from."""
    return {str(entry.reference): job.lock.entries[entry.reference].digest for entry in job.entry.origins}


def _track(job: FetchJob, bag: Bag, locked: LockEntry, *, is_new: bool) -> str:
    """Track the bag with DVC if it is not tracked yet, or if DVC's cache lost it; return DVC's hash of it."""
    tracked = tracking.tracked_hash(job.pointer)
    if job.options.push_data or tracked is None or tracked != locked.dvc:
        tracked = _add(job, bag, is_new=is_new)
    else:
        tracked = _keep(job, bag, tracked, is_new=is_new)
    if job.options.push_data:
        tracking.push(job.workspace, job.pointer, job.reporter)
    return tracked


def _add(job: FetchJob, bag: Bag, *, is_new: bool) -> str:
    """Add a bag to DVC; return DVC's hash of it. One that was here is read first, so that DVC keeps no damaged file."""
    if not is_new:
        with job.reporter.progress(f"checking {job.entry.reference}", bag.bytes, "B") as advance:
            difference = compare_bytes(bag.manifest, bag.path, bag.listing, advance=advance)
        if difference:
            raise MismatchError(
                "the data does not match its manifest, so it is not added to DVC",
                where=bag.path,
                found=difference,
                fix="remove these files, and run the same command again to get them back",
                details=difference.lines(),
            )
    trees = [
        job.lock.entries[origin.reference].dvc for origin in job.entry.origins if origin.reference in job.lock.entries
    ]
    return tracking.add(job.workspace, bag, job.reporter, tuple(filter(None, trees)))


def _keep(job: FetchJob, bag: Bag, tracked: str, *, is_new: bool) -> str:
    """Add a tracked bag again if DVC's cache lacks it; return DVC's hash of it.

    Of a bag that was here, only the listing is looked for: a build that changes nothing must not look for every file.
    """
    try:
        cache = DvcCache.of(job.workspace.root)
        with disk_errors(cache.folder, VersioningError):
            kept = cache.has(tracked) and not (is_new and _lacks_files(cache, tracked))
        return tracked if kept else _add(job, bag, is_new=is_new)
    except VersioningError as error:  # the bag is complete, and a remote may have it
        job.reporter.note(f"can't make sure that {job.entry.reference} is in DVC's cache: {error}")
        return tracked


def _lacks_files(cache: DvcCache, tracked: str) -> bool:
    files = cache.tree(tracked).values()
    return not files or not all(map(cache.has, files))
