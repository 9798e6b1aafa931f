"""The history: what versions were, by the manifests that the lock names by their digests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack import manifest as manifests
from datapack import versioning
from datapack.files import atomic_writer
from datapack.manifest import Manifest
from datapack.oci import digest_of

if TYPE_CHECKING:
    from datapack.reference import Reference
    from datapack.report import Reporter
    from datapack.workspace import Workspace


@dataclass(frozen=True)
class Changes:
    """How one manifest differs from another: three sorted lists of paths."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @classmethod
    def between(cls, before: Manifest, after: Manifest) -> Changes:
        old, new = before.hashes, after.hashes
        return cls(
            added=tuple(path for path in new if path not in old),
            removed=tuple(path for path in old if path not in new),
            changed=tuple(path for path, sha256 in new.items() if old.get(path, sha256) != sha256),
        )

    def lines(self) -> tuple[str, ...]:
        """Give one line a file: ``added``, ``removed``, ``changed``, each sorted."""
        kinds = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        return tuple(f"{kind:8} {path}" for kind, paths in kinds for path in paths)


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
    for path in (workspace.bag(reference) / manifests.NAME, workspace.manifest(digest)):
        if path.is_file() and digest_of(content := path.read_bytes()) == digest:
            return Manifest.parse(content, where=path)
    found = versioning.read(workspace, workspace.pointer(reference), manifests.NAME, reporter)
    if found is None or digest_of(found) != digest:
        return None
    manifest = Manifest.parse(found, where=reference)
    keep_manifest(workspace, manifest)
    return manifest
