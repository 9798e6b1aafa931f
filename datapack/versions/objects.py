"""The objects of one version in DVC's cache, and which of them others need: `datapack remove` keeps those.

Others are every DVC file of the repository, whoever wrote it, those in any branch of git, and every version in the
lock. What can't be read may name any object, so nothing is removed then.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.catalog.git import found_in_branches
from datapack.errors import VersioningError
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.dvc.pointer import has_pointer, read_pointer
from datapack.fetch.dvc.settings import find_repository
from datapack.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.catalog.lock import Lock
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

_MD5 = re.compile(rb"\b[0-9a-f]{32}(?:\.dir)?(?![0-9a-z])")
_MD5_IN_GIT = r"\<[0-9a-f]{32}(\.dir)?"
_IN_GIT = (":(top,glob)**/*.dvc", ":(top,glob)**/dvc.lock")
_LIMIT = 64 << 20  # bytes of a DVC file
_BAG_MARK = "bagit.txt"


@dataclass(frozen=True)
class Objects:
    """A version's objects in DVC's cache."""

    paths: tuple[Path, ...] = ()  # only this version needs them; the listing comes last
    shared: int = 0  # that others need too
    complete: bool = False  # whether the cache has the whole version
    kept: str = ""  # why none may be removed from this cache


def find_objects(workspace: Workspace, lock: Lock, reference: Reference) -> Objects:
    """Find a version's objects.

    Raises:
        VersioningError: a DVC file, or a listing, can't be read; any object may be needed.
    """
    cache = DvcCache.of(workspace.root)
    own = tracked(workspace, lock, reference)
    listings = [md5 for md5 in own if cache.has(md5)]
    if not listings:
        return Objects()
    files = {md5 for listing in listings for md5 in _files(cache, listing)}
    complete = is_cached(workspace, lock, reference)
    if not cache.private:
        return Objects(complete=complete, kept=f"it may be shared with others: {cache.folder}")
    others = _needed(workspace, lock, reference, cache)
    there = [md5 for md5 in (*sorted(files), *listings) if cache.has(md5)]
    alone = [cache.path(md5) for md5 in there if md5 not in others and not cache.path(md5).parent.is_symlink()]
    return Objects(tuple(alone), len(there) - len(alone), complete)


def is_cached(workspace: Workspace, lock: Lock, reference: Reference) -> bool:
    """Whether DVC's cache has a version whole."""
    cache = DvcCache.of(workspace.root)
    own = tracked(workspace, lock, reference)
    return bool(own) and cache.has(own[0]) and all(map(cache.has, _files(cache, own[0])))


def tracked(workspace: Workspace, lock: Lock, reference: Reference) -> list[str]:
    """Return DVC's names of a version: that in its pointer, then that in the lock, if they differ."""
    pointer, locked = workspace.pointer(reference), lock.entries.get(reference)
    found = [read_pointer(pointer).md5] if has_pointer(pointer) else []
    return list(dict.fromkeys([*found, *([locked.dvc] if locked and locked.dvc else [])]))


def _needed(workspace: Workspace, lock: Lock, reference: Reference, cache: DvcCache) -> set[str]:
    """Return the names of all objects that others need."""
    named = {entry.dvc for other, entry in lock.entries.items() if other != reference and entry.dvc}
    own = workspace.pointer(reference)
    for path in _dvc_files(workspace):
        if path != own:
            named |= _named(path)
    places = (*_IN_GIT, f":(exclude){own.relative_to(workspace.root)}")
    named.update(found_in_branches(workspace.root, _MD5_IN_GIT, places))
    return named | {md5 for listing in named if listing.endswith(".dir") for md5 in _files(cache, listing)}


def _files(cache: DvcCache, listing: str) -> set[str]:
    """Return the files in a listing; none if the cache lacks it: then DVC can't use them here either."""
    found = set(cache.tree(listing).values())
    if not found and cache.has(listing):
        fix = "'datapack fetch' of its version repairs it; nothing is removed before"
        raise VersioningError("a listing in DVC's cache can't be read", where=cache.path(listing), fix=fix)
    return found


def _dvc_files(workspace: Workspace) -> Iterator[Path]:
    """Yield the DVC files of the repository; bags, which are large and have none, are not searched."""
    repository = find_repository(workspace.root)
    top = repository.parent if repository else workspace.root
    for folder, folders, files in os.walk(top, onerror=_refuse):
        folders[:] = [name for name in folders if name not in {".git", ".dvc"}]
        if _BAG_MARK in files:
            folders.clear()
        for name in files:
            if name.endswith(".dvc") or name == "dvc.lock":
                yield Path(folder, name)


def _refuse(error: OSError) -> None:
    raise VersioningError("can't look for DVC files here", where=error.filename, found=error.strerror)


def _named(path: Path) -> set[str]:
    """Return every name of an object in a DVC file."""
    content = read_limited(path, _LIMIT, VersioningError)
    found = {name.decode() for name in _MD5.findall(content)}
    if content.strip() and not found:
        raise VersioningError(
            "this DVC file names no object, so nobody can tell what it needs",
            where=path,
            fix="restore it with git, or remove it; nothing is removed from DVC's cache before",
        )
    return found
