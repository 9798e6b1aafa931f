"""Obtain a version's bag: the one that is here, the one that DVC has, or a new one from its sources.

Whatever way it comes, a bag gets its name only when it is whole and is what the lock says.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack import versioning
from datapack.bag import Bag, info_fields, write_tags
from datapack.download import Downloader
from datapack.errors import BagError, ManifestError, MismatchError
from datapack.files import sync_folder
from datapack.manifest import Manifest, compare_bytes, list_payload, sorted_by_bytes
from datapack.payload import Payload
from datapack.sources import fill

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog import Entry
    from datapack.hashcache import HashCache
    from datapack.lock import LockEntry
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
        raise MismatchError(
            "this is not what the lock says that the version is",
            where=self.entry.reference,
            expected=self.locked.digest,
            found=manifest.digest,
            fix="make it a new version, or accept it with --update-lock",
            details=changes(self.workspace.manifest(self.locked.digest), manifest),
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
    """Let a bag whose catalog entry changed begin with links to the files of the former one: most are the same."""
    if job.path.exists() and not job.partial.exists() and not job.refresh:
        shutil.copytree(job.path, job.partial, copy_function=os.link)


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


def changes(old: Path, new: Manifest) -> tuple[str, ...]:
    """Give a line per file that differs from a manifest kept at ``old``; none where that was not kept."""
    if not old.exists():
        return ()
    before = Manifest.parse(old.read_bytes(), where=old).hashes
    kinds = (
        ("added", new.hashes.keys() - before.keys()),
        ("removed", before.keys() - new.hashes.keys()),
        ("changed", {path for path in new.hashes.keys() & before.keys() if new.hashes[path] != before[path]}),
    )
    return tuple(f"{kind:8} {path}" for kind, paths in kinds for path in sorted_by_bytes(paths))
