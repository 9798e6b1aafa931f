"""The history: the manifests of earlier versions, by the dataset digests in the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.bag.manifest import MANIFEST, Manifest
from datapack.bag.tag_file import read_tag_file
from datapack.fetch.dvc import tracking
from datapack.files import atomic_writer
from datapack.hashing import digest_of

if TYPE_CHECKING:
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


def keep_manifest(workspace: Workspace, manifest: Manifest) -> None:
    """Keep a copy of a manifest, as the lock has only its digest."""
    kept = workspace.manifest(manifest.digest)
    if not kept.exists():
        with atomic_writer(kept) as file:
            file.writelines(manifest.lines())


def manifest_here(workspace: Workspace, reference: Reference, digest: str) -> Manifest | None:
    """Find the manifest with this digest in the bag or among the copies; None if it is in neither of them."""
    for path in (workspace.bag(reference) / MANIFEST, workspace.manifest(digest)):
        if path.is_file() and digest_of(content := read_tag_file(path)) == digest:
            return Manifest.parse(content, where=path)
    return None


def find_manifest(workspace: Workspace, reference: Reference, digest: str, reporter: Reporter) -> Manifest | None:
    """Find the manifest with this digest: in the bag, among the copies, or in DVC's cache or remote.

    Return None if it is in none of them. No other file of the bag is fetched.
    """
    here = manifest_here(workspace, reference, digest)
    if here is not None:
        return here
    found = tracking.read(workspace, workspace.pointer(reference), MANIFEST, reporter)
    if found is None or digest_of(found) != digest:
        return None
    manifest = Manifest.parse(found, where=reference)
    keep_manifest(workspace, manifest)
    return manifest
