"""Get the bag of a version: the one that is here, a copy restored from DVC, or a new one from its sources.

A bag gets its final name only when it is complete and matches the lock.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.bagit import Bag, info_fields, read_tags, write_tags
from datapack.bag.changes import compare_bytes
from datapack.bag.fetch_txt import FETCH
from datapack.bag.listing import is_folder, list_payload
from datapack.bag.manifest import MANIFEST, PAYLOAD, Manifest
from datapack.catalog.sources import LocalSource, RunSource, SubsetSource
from datapack.download import Downloader
from datapack.errors import BagError, FetchError, ManifestError, MismatchError
from datapack.fetch.claims import Claims
from datapack.fetch.context import FetchContext
from datapack.fetch.dvc import tracking
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.dvc.pointer import has_pointer
from datapack.fetch.dvc.repository import set_up
from datapack.fetch.dvc.settings import check_settings
from datapack.fetch.kinds.local import is_here
from datapack.fetch.models.write import ModelFiles
from datapack.fetch.payload import Payload, remove_payload_link
from datapack.fetch.sources import fetch_sources
from datapack.files import disk_errors, link_or_copy, remove_temporaries, sync_folder
from datapack.hashing import hash_files
from datapack.workspace.cache import KnownFile
from datapack.workspace.folder import is_open_to_all, keep_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from datapack.catalog.lock import Lock
    from datapack.catalog.sources import AnySource
    from datapack.fetch.context import Origin
    from datapack.fetch.job import FetchJob
    from datapack.reference import Reference


class GotBag(NamedTuple):
    """A version's bag, where it is from, and the lock, which has what was fetched for it."""

    bag: Bag
    is_new: bool  # made from its sources now; else it was here, or in DVC
    lock: Lock


class FetchedOrigins(NamedTuple):
    """The bags that a version is derived from, and the lock that describes them."""

    origins: Mapping[Reference, Origin]
    lock: Lock


def get_bag(job: FetchJob, fetch_origins: Callable[[FetchJob], FetchedOrigins]) -> GotBag:
    """Return a version's bag; its names and sizes are checked.

    Args:
        job: what to fetch.
        fetch_origins: fetches the versions that this one is derived from; called only if it must be made.

    Raises:
        FetchError: a source failed. Complete files are kept for the next run.
        MismatchError: the bag differs from the lock.
    """
    _check_folders(job)
    remove_temporaries(job.path.parent)
    if job.entry.dataset.private:
        _keep_private(job)
    bag = _open_present(job)
    if bag is not None:
        job.check_digest(bag.manifest)
        _note_unread(job)
        return GotBag(bag, False, job.lock)
    if job.staging.exists():  # left behind by a kill
        shutil.rmtree(job.staging)
    restored = None if job.must_ask_sources else _restore(job)
    if restored is not None:
        job.check_digest(restored.manifest)
        bag = _publish(restored, job.path)
        _note_unread(job)
        return GotBag(bag, False, job.lock)
    origins, lock = fetch_origins(job)
    bag = _make(job, origins)
    job.check_digest(bag.manifest)
    return GotBag(_publish(bag, job.path), True, lock)


def _note_unread(job: FetchJob) -> None:
    """Say that local sources were not read: their files may have changed, which a fetch from the web can't miss."""
    root = job.workspace.root
    if any(_is_beside_catalog(source, root) for source in job.entry.sources):
        bag = job.path.relative_to(root)
        job.reporter.note(f"{job.entry.reference}: the bag in {bag} is used; --refresh reads its sources again")


def _is_beside_catalog(source: AnySource, root: Path) -> bool:
    """Whether a source reads a file beside the catalog, which may have changed."""
    match source:
        case LocalSource():
            return is_here(source, root)
        case RunSource():
            return (root / source.run).exists()
        case SubsetSource(names=str(names)):
            return (root / names).exists()
    return False


def _make(job: FetchJob, origins: Mapping[Reference, Origin]) -> Bag:
    """Make the bag from its sources, and from the files of an earlier one, under its temporary name."""
    check_settings(job.workspace.root)  # before anything is fetched that DVC can't keep
    _reuse_files(job)
    return _fetch(job, origins)


def _check_folders(job: FetchJob) -> None:
    """Refuse a link where a folder should be: datapack and DVC would replace and remove files behind it."""
    data = job.path.parent
    for folder in (data.parent, data, job.path, job.partial, job.staging, _replaced(job.path)):
        if os.path.lexists(folder) and not is_folder(folder):
            raise FetchError(
                "a folder is expected here",
                where=folder,
                found="a link" if folder.is_symlink() else "a file",
                fix="move it away; to have the data on another disk, move the whole folder of the catalog there",
            )


def _keep_private(job: FetchJob) -> None:
    """Let nobody but the owner into the folders that hold a private dataset, before the first file is there."""
    workspace = job.workspace
    with disk_errors(workspace.cache):
        set_up(workspace.root)
        for folder in (workspace.cache, job.path.parent):
            keep_private(folder)
        cache = DvcCache.of(workspace.root)
        if cache.private:
            keep_private(cache.folder)
        elif cache.folder.exists() and is_open_to_all(cache.folder):
            job.reporter.note(f"{job.entry.reference} is private, and everybody may read DVC's cache, {cache.folder}")


def _open_present(job: FetchJob) -> Bag | None:
    """Open the bag that is here, if it may be used; an incomplete one becomes a partial bag."""
    if job.must_ask_sources or not job.path.exists():
        return None
    try:
        return Bag.open(job.path)
    except (BagError, ManifestError) as error:
        job.reporter.note(str(error))
    if job.partial.exists():
        shutil.rmtree(job.partial)
    job.path.rename(job.partial)
    return None


def _reuse_files(job: FetchJob) -> None:
    """Start a new bag with links to the files of an earlier one: this version's, or else its parent's.

    The sources then add new files, files from other URLs, and local files that changed.
    """
    if job.options.refresh or job.partial.exists():
        return
    own, parent = job.entry.reference, job.entry.parent
    earlier = next((one for one in (own, parent) if one and job.workspace.bag(one).exists()), None)
    if earlier is None:
        return
    try:
        sound = _sound_files(job, earlier)
    except ManifestError as error:
        job.reporter.note(str(error))
        return
    bag, staging = job.workspace.bag(earlier), job.staging
    (staging / PAYLOAD).mkdir(parents=True)
    for folder in {(staging / path).parent for path in sound}:
        folder.mkdir(parents=True, exist_ok=True)
    for path, known in sound.items():
        link_or_copy(bag / path, staging / path)
        job.cache.record(own, path, *known)
    if (bag / FETCH).exists():  # it has the URL of each file
        link_or_copy(bag / FETCH, staging / FETCH)
    staging.rename(job.partial)


def _sound_files(job: FetchJob, earlier: Reference) -> dict[str, KnownFile]:
    """Return the files of a bag that match its manifest; files in the cache are not read."""
    bag = job.workspace.bag(earlier)
    manifest, listing = Manifest.read(bag), list_payload(bag)
    changed = job.cache.unknown(earlier, manifest.hashes, listing.files)
    here = {
        path: KnownFile(listing.files[path], sha256)
        for path, sha256 in manifest.hashes.items()
        if path in listing.files
    }
    unknown = [path for path in here if path in changed]
    with job.reporter.progress(f"checking {earlier}", sum(here[path].stat.size for path in unknown), "B") as advance:
        for path, sha256 in hash_files(bag, unknown, advance=advance):
            if sha256 != here[path].sha256:
                job.reporter.note(f"{bag / path}: differs from the manifest, so it is not reused")
                del here[path]
    return here


def _restore(job: FetchJob) -> Bag | None:
    """Restore the bag from DVC and check every byte; return None if DVC does not have it."""
    if not has_pointer(job.pointer):
        return None
    remove_payload_link(job.partial)
    if not tracking.restore(job.workspace, job.pointer, job.partial, job.reporter):
        return None
    manifest, listing = _check_restored_tags(job), list_payload(job.partial)
    with job.reporter.progress(f"checking {job.entry.reference}", listing.size, "B") as advance:
        difference = compare_bytes(manifest, job.partial, listing, advance=advance)
    if difference:
        raise _wrong_copy(job, sorted({*difference.changed, *difference.extra}), difference, difference.lines())
    for name, stat in listing.files.items():
        job.cache.record(job.entry.reference, name, stat, manifest.hashes[name])
    return Bag.open(job.partial, listing)


def _check_restored_tags(job: FetchJob) -> Manifest:
    """Return the restored bag's manifest; it and the other tag files are checked."""
    try:
        return Manifest.parse(read_tags(job.partial)[MANIFEST])
    except (BagError, ManifestError) as error:
        tags = [path.name for path in job.partial.iterdir() if path.is_file()]  # any of them may be damaged
        raise _wrong_copy(job, tags, error) from error


def _wrong_copy(job: FetchJob, names: Sequence[str], found: object, details: tuple[str, ...] = ()) -> MismatchError:
    """Remove these restored files, and those whose bytes in DVC's cache are damaged; return the error for them."""
    with disk_errors(job.partial, BagError):
        for name in names:
            (job.partial / name).unlink()
    if tracking.remove_damaged(job.workspace, job.pointer, names):
        fault = "DVC's cache held files that differ from the bag's manifest"
        fix = "they were removed from the cache; run the same command again to get them from the remote"
    else:
        fault = "the bag that DVC restored differs from its manifest, though DVC's cache is sound"
        fix = "check the disk and the pointer; --refresh fetches the version from its sources"
    return MismatchError(fault, where=job.pointer, found=found, fix=fix, details=details)


def _fetch(job: FetchJob, origins: Mapping[Reference, Origin]) -> Bag:
    """Make the bag from its sources, under its temporary name."""
    entry, dataset = job.entry, job.entry.dataset
    failures, model = job.workspace.failures(entry.reference), ModelFiles.of(entry)
    contents = fetch_sources(entry.sources, _context(job, origins), failures, model)
    job.check_digest(contents.manifest)
    facts = {
        "Source-Organization": dataset.publisher,
        "Contact-Name": dataset.contact,
        "External-Description": dataset.title,
        "Licence": dataset.licence,
        "Homepage": dataset.homepage,
    }
    info = info_fields(str(entry.reference), facts)
    return write_tags(job.partial, contents.manifest, contents.listing, info, contents.urls)


def _context(job: FetchJob, origins: Mapping[Reference, Origin]) -> FetchContext:
    """Return the context of a fetch; what it knows about the payload does not outlive that."""
    entry = job.entry
    claims = Claims(similar_names=entry.version.similar_names)
    payload = Payload(entry.reference, job.partial, job.cache, job.reporter, claims)
    contact = entry.dataset.contact or ""
    downloader = Downloader(connections=entry.connections, contact=contact, reporter=job.reporter)
    return FetchContext(payload, downloader, job.workspace.root, job.reporter, origins=origins)


def _replaced(path: Path) -> Path:
    return path.with_name(f"{path.name}+replaced.partial")  # no version has a + in its name


def _publish(bag: Bag, path: Path) -> Bag:
    """Publish a bag under its final name, replacing an earlier one."""
    replaced = _replaced(path)
    if replaced.exists():  # left behind by a kill
        shutil.rmtree(replaced)
    if path.exists():
        path.rename(replaced)
    bag.path.rename(path)
    sync_folder(path.parent)
    if replaced.exists():
        shutil.rmtree(replaced)
    return replace(bag, path=path)
