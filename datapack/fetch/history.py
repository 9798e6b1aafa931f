"""The history: what versions were, by the manifests that the lock names by their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.bag.manifest import MANIFEST, Manifest
from datapack.fetch import dvc
from datapack.files import atomic_writer
from datapack.hashing import digest_of

if TYPE_CHECKING:
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


def keep_manifest(workspace: Workspace, manifest: Manifest) -> None:
    """Keep a copy of what the lock names by its digest alone."""
    kept = workspace.manifest(manifest.digest)
    if not kept.exists():
        with atomic_writer(kept) as file:
            file.write(manifest.content)


def find_manifest(workspace: Workspace, reference: Reference, digest: str, reporter: Reporter) -> Manifest | None:
    """Find the manifest of this digest: in the bag, among those that were kept, or in DVC's cache or remote.

    Return None where it is in none of them; nothing else of the bag is fetched.
    """
    for path in (workspace.bag(reference) / MANIFEST, workspace.manifest(digest)):
        if path.is_file() and digest_of(content := path.read_bytes()) == digest:
            return Manifest.parse(content, where=path)
    found = dvc.read(workspace, workspace.pointer(reference), MANIFEST, reporter)
    if found is None or digest_of(found) != digest:
        return None
    manifest = Manifest.parse(found, where=reference)
    keep_manifest(workspace, manifest)
    return manifest
