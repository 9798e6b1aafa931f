"""Remove what this machine has of a version: its bag, its objects in DVC's cache, its image.

What others need stays, and so does the only copy. The catalog, the lock and DVC's pointer stay too, unless the version
is to be forgotten. A kill half-way leaves nothing incomplete under a final name; the same call removes the rest.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.bag.listing import is_folder
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.errors import DatapackError, UsageError
from datapack.fetch.dvc import tracking
from datapack.fetch.dvc.add import exclusive
from datapack.fetch.dvc.pointer import has_pointer
from datapack.fetch.dvc.settings import read_setting
from datapack.files import disk_errors
from datapack.signing.files import files_beside
from datapack.text import counted, size
from datapack.urls import hide_secrets
from datapack.versions.copies import find_copies
from datapack.versions.objects import Objects, find_objects
from datapack.versions.usage import Usage, measure
from datapack.workspace.cache import HashCache
from datapack.workspace.folder import REHEARSAL_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.catalog.model import Entry
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

_ONLY_COPY = "no other copy of this version is known"
_REMOVED = "+removed.partial"  # no version has a + in its name, and git ignores *.partial/


@dataclass(frozen=True)
class RemoveOptions:
    """What to remove. Without one of the first three, all of them."""

    bag: bool = False
    cache: bool = False
    dist: bool = False
    forget: bool = False  # also DVC's pointer and the entry in the lock, of a version that the catalog no longer has
    only_copy: bool = False  # also if no other copy is known


@dataclass(frozen=True)
class Part:
    """Something of a version that is removed."""

    name: str
    paths: tuple[Path, ...]  # files and folders, in the order in which they go
    usage: Usage


@dataclass(frozen=True)
class Removal:
    """What is removed, or would be."""

    reference: Reference
    parts: tuple[Part, ...]  # that are here
    freed: int  # bytes, of all parts together
    shared: int  # objects in DVC's cache that stay because others need them
    staying: tuple[str, ...]  # copies of the version
    is_only_copy: bool  # whether this removes the only known copy
    notes: tuple[str, ...]  # what is not removed, and where the version is besides
    forget: bool

    def to_json(self) -> dict[str, Any]:
        """Return the removal for JSON. A part has its paths, unless they are objects in DVC's cache."""
        return {
            "reference": str(self.reference),
            "parts": {part.name: _part_json(part) for part in self.parts},
            "freed": self.freed,
            "shared_objects": self.shared,
            "copies": list(self.staying),
            "only_copy": self.is_only_copy,
            "notes": list(self.notes),
            "forget": self.forget,
        }


def _part_json(part: Part) -> dict[str, Any]:
    counts = {"files": part.usage.files, "bytes": part.usage.bytes}
    return counts if part.name == "cache" else {**counts, "paths": list(map(str, part.paths))}


def plan_removal(workspace: Workspace, reference: Reference, options: RemoveOptions, reporter: Reporter) -> Removal:
    """Say what `remove` would do; nothing is changed.

    Raises:
        UsageError: the version is not known, or the catalog still has what is to be forgotten.
        VersioningError: a DVC file can't be read, so any object may be needed.
        DatapackError: a link is where a folder should be, or a rehearsal uses its folder.
    """
    lock, entry = Lock.read(workspace.lock), find_entry(workspace, reference)
    chosen = _chosen(options)
    objects = find_objects(workspace, lock, reference)
    copies = find_copies(workspace, reference, entry, lock.entries.get(reference), reporter, cached=objects.complete)
    staying = copies.staying(bag=chosen.bag, cache=chosen.cache and not objects.kept, image=chosen.dist)
    if copies.is_here and not staying and tracking.is_pushed(workspace, workspace.pointer(reference), reporter):
        staying = ("DVC's remote",)
    if options.forget and entry is not None:
        fix = f"remove it from {workspace.catalog.name} first"
        raise UsageError("the catalog still has this version, so it can't be forgotten", where=reference, fix=fix)
    parts = tuple(_parts(workspace, reference, chosen, objects))
    freed = measure(path for part in parts for path in part.paths).freed
    notes = (
        *_notes(workspace, lock, reference, entry, objects if chosen.cache else Objects()),
        *_signature_notes(workspace, reference, chosen),
    )
    shared = objects.shared if chosen.cache else 0
    is_only = copies.is_here and not staying
    return Removal(reference, parts, freed, shared, staying, is_only, notes, options.forget)


def remove(workspace: Workspace, reference: Reference, options: RemoveOptions, reporter: Reporter) -> Removal:
    """Remove what `plan_removal` says; return it.

    Raises:
        DatapackError: as `plan_removal` does, or it is the only copy, or the disk failed.
    """
    chosen = _chosen(options)
    with workspace.exclusive(f"remove {reference}"):
        removal = plan_removal(workspace, reference, options, reporter)
        if removal.is_only_copy and not options.only_copy:
            fix = f"'datapack fetch {reference} --push-data' sends it to DVC's remote; --only-copy removes it anyway"
            raise DatapackError(_ONLY_COPY, where=reference, fix=fix)
        with reporter.progress(f"removing {reference}", len(removal.parts), "parts") as advance:
            # The bag goes last: while it is here, it shows after a kill that the local sources are a copy.
            for part in sorted(removal.parts, key=lambda part: part.name == "bag"):
                if part.name == "cache":
                    _remove_objects(workspace, reference)
                else:
                    for path in part.paths:
                        _remove(path)
                advance(1)
        if chosen.bag and workspace.hashes.exists():
            with HashCache.open(workspace.hashes) as cache:
                cache.forget(reference)
        if options.forget:
            _forget(workspace, reference)
    return removal


def _remove_objects(workspace: Workspace, reference: Reference) -> None:
    """Remove the objects that only this version needs now, while no DVC adds a file and takes one of them for its."""
    with exclusive(workspace.root):
        for path in find_objects(workspace, Lock.read(workspace.lock), reference).paths:
            _remove(path)


def _chosen(options: RemoveOptions) -> RemoveOptions:
    if options.bag or options.cache or options.dist:
        return options
    return RemoveOptions(bag=True, cache=True, dist=True, forget=options.forget, only_copy=options.only_copy)


def find_entry(workspace: Workspace, reference: Reference) -> Entry | None:
    """Return the catalog entry of a version; None for one that was withdrawn, of which something is still here.

    Raises:
        UsageError: nothing is known of such a version.
    """
    catalog = Catalog.read(workspace.catalog)
    dataset = catalog.datasets.get(reference.name)
    if dataset and reference.version in dataset.versions:
        return catalog.entry(reference)
    known = reference in Lock.read(workspace.lock).entries or has_pointer(workspace.pointer(reference))
    if not known and not any(True for _ in (*_bag_paths(workspace, reference), *_dist_paths(workspace, reference))):
        catalog.entry(reference)  # says which versions there are
    return None


def _parts(workspace: Workspace, reference: Reference, chosen: RemoveOptions, objects: Objects) -> Iterator[Part]:
    found = {
        "bag": tuple(_bag_paths(workspace, reference)) if chosen.bag else (),
        "cache": objects.paths if chosen.cache else (),
        "lists": tuple(_own_caches(workspace, reference)) if chosen.cache else (),
        "dist": tuple(_dist_paths(workspace, reference)) if chosen.dist else (),
    }
    for name, paths in found.items():
        if paths:
            yield Part(name, paths, measure(paths))


def _bag_paths(workspace: Workspace, reference: Reference) -> Iterator[Path]:
    """Yield the bag, what killed runs left of it, and its reports."""
    bag, version = workspace.bag(reference), reference.version
    _check_folders(workspace.root / "data", bag.parent, bag)
    yield from _present(bag, bag.with_name(f"{version}.partial"))
    yield from sorted(bag.parent.glob(f"{version}+*.partial"))  # no letter of a version has a meaning in a pattern
    yield from _present(bag.with_name(f"{version}.partial.dvc"), workspace.failures(reference))


def _dist_paths(workspace: Workspace, reference: Reference) -> Iterator[Path]:
    """Yield the default targets, what killed runs left of them, provenance, report, metadata and rehearsals."""
    dists = [workspace.dist(reference, runnable=runnable) for runnable in (False, True)]
    rehearsals = workspace.rehearsals(reference)
    _check_folders(dists[0].parent, *dists, rehearsals.parent, rehearsals)
    for mark in rehearsals.glob(f"*/{REHEARSAL_MARK}"):
        fix = "wait until it has ended; if it was killed, the next 'datapack run' clears up"
        raise DatapackError("a rehearsal uses this folder", where=mark.parent, fix=fix)
    for dist in dists:
        beside = (".partial", _REMOVED, ".provenance.json", ".cdx.json")
        yield from _present(dist, *(dist.with_name(f"{dist.name}{ending}") for ending in beside))
    metadata = workspace.metadata(reference)
    folders = (metadata, metadata.with_name(f"{metadata.name}.old"), rehearsals)
    left = (folder.with_name(f"{folder.name}{_REMOVED}") for folder in folders)
    partial = metadata.with_name(f"{metadata.name}.partial")
    yield from _present(workspace.report(reference), partial, *folders, *left)


def _own_caches(workspace: Workspace, reference: Reference) -> Iterator[Path]:
    """Yield what datapack keeps of a version by its digest, which no other version of the lock needs."""
    lock = Lock.read(workspace.lock)
    locked = lock.entries.get(reference)
    children = any(
        other.name == reference.name and entry.parent == reference.version for other, entry in lock.entries.items()
    )
    same = any(locked and entry.digest == locked.digest for other, entry in lock.entries.items() if other != reference)
    if locked and not children and not same:
        yield from _present(workspace.manifest(locked.digest))
        yield from sorted((workspace.cache / "findings").glob(f"{locked.digest.removeprefix('sha256:')}*"))


def _present(*paths: Path) -> list[Path]:
    return [path for path in paths if os.path.lexists(path)]


def _check_folders(*folders: Path) -> None:
    """Refuse a link where a folder should be: what is behind it is not this workspace's."""
    for folder in folders:
        if os.path.lexists(folder) and not is_folder(folder):
            found = "a link" if folder.is_symlink() else "a file"
            raise DatapackError("a folder is expected here", where=folder, found=found, fix="move it away")


def _remove(path: Path) -> None:
    """Remove a file or a folder; a folder loses its final name first, and so is never half there."""
    with disk_errors(path, DatapackError):
        if not is_folder(path):
            path.unlink(missing_ok=True)
            return
        if not path.name.endswith(".partial"):
            removed = path.with_name(f"{path.name}{_REMOVED}")
            if removed.exists():
                shutil.rmtree(removed)
            path = path.rename(removed)
        shutil.rmtree(path)


def _forget(workspace: Workspace, reference: Reference) -> None:
    lock = Lock.read(workspace.lock)
    lock.without(reference).write_unless(lock, workspace.lock)
    workspace.pointer(reference).unlink(missing_ok=True)


def _notes(
    workspace: Workspace, lock: Lock, reference: Reference, entry: Entry | None, objects: Objects
) -> Iterator[str]:
    """Say what stays, and where else the version is."""
    if objects.kept:
        yield f"nothing is removed from DVC's cache: {objects.kept}"
    for place in pushed_to(workspace, lock, reference):
        yield f"its image was pushed to {place}, and stays there"
    if remote := read_setting(workspace.root, "core", "remote"):
        url = read_setting(workspace.root, f'remote "{remote}"', "url")
        yield f"what was pushed to DVC's remote {remote} ({hide_secrets(url)}) stays there"
    if entry is None or entry.dataset.private:
        yield "archives, images in an engine, and data that was imported from any of these stay too"


def _signature_notes(workspace: Workspace, reference: Reference, chosen: RemoveOptions) -> Iterator[str]:
    """Say which signatures stay: the same bag or image can be made again, a signature only by who has the key."""
    bags = [workspace.bag(reference)] if chosen.bag else []
    dists = [workspace.dist(reference, runnable=runnable) for runnable in (False, True)] if chosen.dist else []
    files = [file for path in (*bags, *dists) for file in files_beside(path)]
    if files:
        names = ", ".join(str(file.relative_to(workspace.root)) for file in files)
        yield f"signatures stay, as only their key could make them again: {names}"


def pushed_to(workspace: Workspace, lock: Lock, reference: Reference) -> list[str]:
    """Return the repositories that have its tag files' layer, which is in no other version's image."""
    locked = lock.entries.get(reference)
    if not (locked and locked.image and workspace.hashes.exists()):
        return []
    with HashCache.open(workspace.hashes) as cache:
        return cache.places(locked.image.layers[-1])


def table(removal: Removal, root: Path, *, done: bool) -> str:
    """Format a removal: what is removed, the space that this frees, and what stays."""
    lines = []
    for part in removal.parts:
        lines.append(f"{part.name:6} {size(part.usage.bytes):>9}  {counted(part.usage.files, 'file')}")
        if part.name != "cache":
            lines += [f"       {path.relative_to(root)}" for path in part.paths]
    if not removal.parts:
        lines.append(f"nothing of {removal.reference} is here")
    elif removal.shared:
        lines.append(f"stays  {counted(removal.shared, 'object')} in DVC's cache that other versions need")
    if removal.parts:
        lines.append(f"{'freed' if done else 'frees'}  {size(removal.freed)}")
    if removal.staying:
        lines.append(f"copies that stay: {', '.join(removal.staying)}")
    if removal.is_only_copy:
        lines.append(f"{_ONLY_COPY}{'' if done else ': only --only-copy removes it'}")
    lines += removal.notes
    if removal.forget:
        lines.append(f"DVC's pointer and the entry in datasets.lock {'were' if done else 'would be'} removed too")
    return "\n".join(lines)
