"""Verify a bag on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.bag.bagit import read_tags
from datapack.bag.changes import compare_bytes, compare_names
from datapack.bag.listing import list_payload
from datapack.bag.manifest import MANIFEST, Manifest
from datapack.verify.outcome import Mode, Verified, oxum_problems, raise_if

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.progress import Reporter


def verify_bag(path: Path, mode: Mode, reporter: Reporter) -> Verified:
    """Verify a bag on disk; raise `MismatchError` with all its differences."""
    tags = read_tags(path)
    manifest = Manifest.parse(tags[MANIFEST], where=path / MANIFEST)
    listing = list_payload(path)
    if mode == "full":
        with reporter.progress(f"verifying {path.name}", listing.size, "B") as advance:
            difference = compare_bytes(manifest, path, listing, advance=advance)
    else:
        difference = compare_names(manifest, listing)
    problems = [] if difference else oxum_problems(tags, listing.size, len(listing.files))
    raise_if(difference, problems, where=path)
    return Verified(str(path), mode, manifest.digest, len(listing.files), listing.size)
