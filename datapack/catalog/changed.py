"""Which versions a change touches: what the catalog and the lock say about them, now and in an earlier commit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.catalog.git import commit_of, content_at
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.errors import CatalogError, UsageError

if TYPE_CHECKING:
    from datapack.catalog.model import Entry
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


def changed_since(workspace: Workspace, commit: str) -> list[Reference]:
    """Return the versions that are new, or of which the catalog or the lock says something else than in a commit.

    A commit without a catalog, or with one that this datapack can't read, had no version.

    Raises:
        UsageError: git has no such commit.
        CatalogError: the catalog or the lock of today is invalid.
    """
    known = commit_of(workspace.root, commit)
    if known is None:
        fix = "name a commit, a branch or a tag of this repository; a shallow clone lacks most of them"
        raise UsageError("git has no such commit", where="--since", found=repr(commit), fix=fix)
    then, now = _facts_in(workspace, known), _facts(workspace.catalog, workspace.lock)
    return [reference for reference, facts in now.items() if then.get(reference) != facts]


def _facts_in(workspace: Workspace, commit: str) -> dict[Reference, Any]:
    """Return what was known of each version in a commit."""
    with tempfile.TemporaryDirectory() as folder:
        old = [Path(folder, path.name) for path in (workspace.catalog, workspace.lock)]
        for path, then in zip((workspace.catalog, workspace.lock), old, strict=True):
            content = content_at(path, commit)
            if content is not None:
                then.write_text(f"{content}\n", encoding="utf-8", errors="surrogateescape")
        if not old[0].exists():
            return {}
        try:
            return _facts(*old)
        except CatalogError:
            return {}


def _facts(catalog: Path, lock: Path) -> dict[Reference, Any]:
    locked = Lock.read(lock).entries
    return {entry.reference: (_said(entry), locked.get(entry.reference)) for entry in Catalog.read(catalog).entries()}


def _said(entry: Entry) -> dict[str, Any]:
    """Return the catalog entry of one version, with those of its dataset and the versions it is derived from."""
    return {
        "dataset": entry.dataset.model_dump(exclude={"versions"}),
        "version": entry.version.model_dump(),
        "base": entry.base,
        "origins": [_said(origin) for origin in entry.origins],
    }
