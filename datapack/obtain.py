"""Obtain a version's bag: the one that is here, the one that DVC has, or a new one from its sources.

Whatever way it comes, a bag gets its name only when it is whole and is what the lock says.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack import versioning
from datapack.bag import FETCH, Bag, info_fields, write_tags
from datapack.download import Downloader
from datapack.errors import BagError, ManifestError, MismatchError
from datapack.files import sync_folder
from datapack.hashcache import KnownFile
from datapack.history import Changes
from datapack.manifest import PAYLOAD, Manifest, compare_bytes, hash_files, list_payload
from datapack.payload import Payload
from datapack.sources import fill

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog import Entry
    from datapack.hashcache import HashCache
    from datapack.lock import LockEntry
    from datapack.reference import Reference
    from datapack.report import Reporter
    from datapack.workspace import Workspace


@dataclass(frozen=True)
class Obtaining:
    """What it takes to obtain one version."""

    workspace: Workspace
    entry: Entry
    locked: LockEntry | None
    cache: HashCache
    reporter: Reporter
    refresh: bool = False  # ask the sources although a bag is here
    update_lock: bool = False  # the version may become something else than the lock says

    @property
    def path(self) -> Path:
        return self.workspace.bag(self.entry.reference)

    @property
    def partial(self) -> Path:
        return self.workspace.partial_bag(self.entry.reference)

    @property
    def begun(self) -> Path:
        """Where links to a former bag's files are made; no version has a ``+`` in its name."""
        return self.partial.with_name(f"{self.entry.reference.version}+begun.partial")

    @property
    def pointer(self) -> Path:
        return self.workspace.pointer(self.entry.reference)

    @property
    def must_ask_sources(self) -> bool:
        """Whether what is here, or in DVC, may not be what the catalog asks for now."""
        changed = self.locked is not None and self.locked.catalog not in {None, self.entry.fingerprint}
        return self.refresh or changed

    def check_digest(self, manifest: Manifest) -> None:
        """Raise `MismatchError`, with a line per file, where a manifest is not the one that the lock names."""
        if self.locked is None or self.update_lock or self.locked.digest == manifest.digest:
            return
        kept = self.workspace.manifest(self.locked.digest)
        before = Manifest.parse(kept.read_bytes(), where=kept) if kept.exists() else None
        raise MismatchError(
            "this is not what the lock says that the version is",
            where=self.entry.reference,
            expected=self.locked.digest,
            found=manifest.digest,
            fix="make it a new version, or accept it with --update-lock",
            details=Changes.between(before, manifest).lines() if before else (),
        )


def obtain(job: Obtaining) -> Bag:
    """Return a version's bag, complete by names and sizes.

    Raises:
        FetchError: a source failed. What is whole is kept for the next run.
        MismatchError: the bag is not what the lock says.
    """
    if job.path.exists() and not job.must_ask_sources:
        try:
            bag = Bag.open(job.path)
        except (BagError, ManifestError) as error:
            job.reporter.note(str(error))
            _set_aside(job)
        else:
            job.check_digest(bag.manifest)
            return bag
    if job.begun.exists():  # a kill left it
        shutil.rmtree(job.begun)
    if job.must_ask_sources or not _restore(job):
        _begin_with_what_is_here(job)
        _fetch(job)
    job.check_digest(Bag.open(job.partial).manifest)
    _publish(job.partial, job.path)
    return Bag.open(job.path)


def _set_aside(job: Obtaining) -> None:
    """Go back from a bag that is not whole to one that is being made."""
    if job.partial.exists():
        shutil.rmtree(job.partial)
    job.path.rename(job.partial)


def _begin_with_what_is_here(job: Obtaining) -> None:
    """Let a new bag begin with links to the files of a former one: that of this version, or else of its parent.

    Sources then bring what is new, what comes from elsewhere, and what changed beside the catalog.
    """
    if job.refresh or job.partial.exists():
        return
    own, parent = job.entry.reference, job.entry.parent
    former = next((one for one in (own, parent) if one and job.workspace.bag(one).exists()), None)
    if former is None:
        return
    try:
        sound = _sound_files(job, former)
    except ManifestError as error:
        job.reporter.note(str(error))
        return
    bag, begun = job.workspace.bag(former), job.begun
    (begun / PAYLOAD).mkdir(parents=True)
    for folder in {(begun / path).parent for path in sound}:
        folder.mkdir(parents=True, exist_ok=True)
    for path, known in sound.items():
        _link(bag / path, begun / path)
        job.cache.record(own, path, *known)
    if (bag / FETCH).exists():  # which says where each came from
        _link(bag / FETCH, begun / FETCH)
    begun.rename(job.partial)


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a disk without hard links
        shutil.copy2(path, other)


def _sound_files(job: Obtaining, former: Reference) -> dict[str, KnownFile]:
    """Return the files of a bag that are what its manifest says; those that are known to be are not read."""
    bag = job.workspace.bag(former)
    manifest, listing, known = Manifest.read(bag), list_payload(bag), job.cache.files(former)
    here = {
        path: KnownFile(listing.files[path], sha256)
        for path, sha256 in manifest.hashes.items()
        if path in listing.files
    }
    unknown = [path for path in here if known.get(path) != here[path]]
    with job.reporter.progress(f"checking {former}", sum(here[path].stat.size for path in unknown), "B") as advance:
        for path, sha256 in hash_files(bag, unknown, advance=advance):
            if sha256 != here[path].sha256:
                job.reporter.note(f"{bag / path}: not what the manifest says, so it is not used")
                del here[path]
    return here


def _restore(job: Obtaining) -> bool:
    """Bring the bag from DVC and check its every byte; return False where DVC has none."""
    if not job.pointer.exists() or not versioning.restore(job.workspace, job.pointer, job.partial, job.reporter):
        return False
    manifest, listing = Manifest.read(job.partial), list_payload(job.partial)
    total = sum(file.size for file in listing.files.values())
    with job.reporter.progress(f"checking {job.entry.reference}", total, "B") as advance:
        difference = compare_bytes(manifest, job.partial, advance=advance)
    if difference:
        versioning.discard(job.workspace, job.pointer, difference.changed)
        for name in (*difference.changed, *difference.extra):
            (job.partial / name).unlink()
        raise MismatchError(
            "what DVC's cache held is not what the bag's manifest says",
            where=job.pointer,
            found=difference,
            fix="what is damaged was removed from it; run the same command again to get it from the remote",
            details=difference.lines(),
        )
    for name, stat in listing.files.items():
        job.cache.record(job.entry.reference, name, stat, manifest.hashes[name])
    return True


def _fetch(job: Obtaining) -> None:
    """Make the bag from its sources, under its temporary name."""
    entry, dataset = job.entry, job.entry.dataset
    payload = Payload(
        reference=entry.reference,
        bag=job.partial,
        catalog_folder=job.workspace.root,
        cache=job.cache,
        downloader=Downloader(connections=entry.connections, contact=dataset.contact or "", reporter=job.reporter),
        reporter=job.reporter,
        failures=job.workspace.failures(entry.reference),
    )
    fill(payload, entry.sources)
    manifest = Manifest.of(payload.hashes)
    job.check_digest(manifest)
    facts = {
        "Source-Organization": dataset.publisher,
        "Contact-Name": dataset.contact,
        "External-Description": dataset.title,
        "Licence": dataset.licence,
        "Homepage": dataset.homepage,
    }
    write_tags(job.partial, manifest, info_fields(entry.reference, facts), payload.origins)


def _publish(partial: Path, path: Path) -> None:
    """Give a whole bag its name; one that had it goes away after that."""
    replaced = path.with_name(f"{path.name}.replaced.partial")
    if replaced.exists():  # a kill left it
        shutil.rmtree(replaced)
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    sync_folder(path.parent)
    if replaced.exists():
        shutil.rmtree(replaced)
