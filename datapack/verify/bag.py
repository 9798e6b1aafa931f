"""Verify a bag on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack import manifest as manifests
from datapack.bag import read_tags
from datapack.manifest import Manifest, compare_bytes, compare_names, list_payload
from datapack.verify.outcome import Mode, Verified, oxum_problems, raise_if

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.report import Reporter


def verify_bag(path: Path, mode: Mode, reporter: Reporter) -> Verified:
    """Verify a bag on disk; raise `MismatchError` with all its differences."""
    tags = read_tags(path)
    manifest = Manifest.parse(tags[manifests.NAME], where=path / manifests.NAME)
    listing = list_payload(path)
    total = sum(file.size for file in listing.files.values())
    if mode == "full":
        with reporter.progress(f"verifying {path.name}", total, "B") as advance:
            difference = compare_bytes(manifest, path, advance=advance)
    else:
        difference = compare_names(manifest, listing)
    problems = [] if difference else oxum_problems(tags, total, len(listing.files))
    raise_if(difference, problems, where=path)
    return Verified(str(path), mode, manifest.digest, len(listing.files), total)
