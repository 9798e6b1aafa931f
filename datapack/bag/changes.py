"""Changes: how a folder differs from its manifest, and how one manifest differs from another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from datapack.bag.manifest import Manifest, sorted_by_bytes
from datapack.bag.names import look_alikes
from datapack.hashing import hash_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from datapack.bag.listing import Listing


@dataclass(frozen=True)
class Difference:
    """How a folder differs from its manifest: three sorted lists of paths."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.changed)

    def __str__(self) -> str:
        parts = ((self.missing, "missing"), (self.extra, "extra"), (self.changed, "changed"))
        return ", ".join(f"{len(paths):,} {kind}" for paths, kind in parts if paths) or "no difference"

    def lines(self) -> tuple[str, ...]:
        """Return one line per file: first ``missing``, then ``extra``, then ``changed``, each sorted."""
        return _lines(missing=self.missing, extra=self.extra, changed=self.changed)


def compare_names(manifest: Manifest, listing: Listing) -> Difference:
    """Compare only names; no file is read."""
    present = chain(listing.files, listing.irregular)  # no set of them: there may be hundreds of thousands
    return Difference(
        missing=tuple(path for path in manifest.hashes if path not in listing.files and path not in listing.irregular),
        extra=tuple(sorted_by_bytes(path for path in present if path not in manifest.hashes)),
        changed=tuple(path for path in manifest.hashes if path in listing.irregular),
    )


def compare_bytes(
    manifest: Manifest,
    bag: Path,
    listing: Listing,
    *,
    algorithm: str = "sha256",
    workers: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Difference:
    """Compare every file below ``bag/data`` with the manifest, names and bytes, on all cores.

    Args:
        manifest: the expected files.
        bag: the folder that holds ``data/``.
        listing: the files that are there.
        algorithm: of the manifest's hashes.
        workers: the number of hashing threads; by default one per core that this process may use.
        advance: called with the number of bytes hashed since its last call.

    Raises:
        OSError: a file can't be read.
    """
    names = compare_names(manifest, listing)
    present = (path for path in manifest.hashes if path in listing.files)
    hashed = hash_files(bag, present, algorithm=algorithm, workers=workers, advance=advance)
    changed = (path for path, sha256 in hashed if sha256 != manifest.hashes[path])
    return Difference(names.missing, names.extra, tuple(sorted_by_bytes({*names.changed, *changed})))


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
        """Return one line per file: first ``added``, then ``removed``, then ``changed``, each sorted."""
        return _lines(added=self.added, removed=self.removed, changed=self.changed)


def _lines(**kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return a line per path, with its characters spelled out where another path looks like it."""
    alike = look_alikes({path for paths in kinds.values() for path in paths})
    return tuple(
        f"{kind:8} {path}, spelled {path!a}" if path in alike else f"{kind:8} {path}"
        for kind, paths in kinds.items()
        for path in paths
    )
