"""Verify a bag on disk: datapack's, or any other BagIt bag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from datapack.bag.any_bag import AnyBag
from datapack.bag.bagit import INFO, OXUM, parse_oxum
from datapack.bag.changes import Difference, compare_bytes, compare_names
from datapack.bag.listing import is_folder, list_payload
from datapack.bag.manifest import Manifest, sorted_by_bytes
from datapack.hashing import hash_file
from datapack.verify.outcome import Mode, Verified, raise_if

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.bag.any_bag import Checksums
    from datapack.bag.listing import Listing
    from datapack.progress import Reporter


@dataclass(frozen=True)
class VerifiedBag(Verified):
    """A successful verification of a bag, with what has to be said of one that another tool wrote."""

    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.notes])


def verify_bag(path: Path, mode: Mode, reporter: Reporter) -> VerifiedBag:
    """Verify a bag on disk, against all its manifests; raise `MismatchError` with all its differences."""
    bag, listing = AnyBag.read(path), list_payload(path)
    difference = _difference(bag, listing, mode, reporter)
    problems = [*_tag_problems(bag), *bag.gaps(), *([] if difference else _size_problems(bag, listing))]
    raise_if(difference, problems, where=path)
    return VerifiedBag(
        str(path), mode, bag.manifests[0].digest, len(listing.files), listing.size, notes=tuple(_notes(bag))
    )


def _difference(bag: AnyBag, listing: Listing, mode: Mode, reporter: Reporter) -> Difference:
    names = compare_names(Manifest(dict.fromkeys(sorted_by_bytes(bag.names), "")), listing)
    if mode != "full":
        return names
    changed = set(names.changed)
    total = listing.size * len(bag.manifests)
    with reporter.progress(f"verifying {bag.path.name}", total, "B") as advance:
        for one in bag.manifests:
            manifest = Manifest(one.hashes)
            found = compare_bytes(manifest, bag.path, listing, algorithm=one.algorithm, advance=advance)
            changed.update(found.changed)
    return Difference(names.missing, names.extra, tuple(sorted_by_bytes(changed)))


def _tag_problems(bag: AnyBag) -> list[str]:
    """Return a line for each tag file that differs from a tag manifest."""
    return [
        f"{found:8} {name}"
        for manifest in bag.tag_manifests
        for name in manifest.hashes
        if (found := _tag_problem(bag.path, name, manifest))
    ]


def _tag_problem(bag: Path, name: str, manifest: Checksums) -> str:
    folders = [bag / folder for folder in PurePosixPath(name).parents][:-1]
    if not all(map(is_folder, folders)):  # a link could lead anywhere
        return "missing"
    try:
        found = hash_file(bag / name, algorithm=manifest.algorithm)
    except FileNotFoundError:
        return "missing"
    except OSError:  # a link or a device
        return "changed"
    return "" if found == manifest.hashes[name] else "changed"


def _size_problems(bag: AnyBag, listing: Listing) -> list[str]:
    stated, found = bag.info.get(OXUM), (listing.size, len(listing.files))
    if stated is None or parse_oxum(bag.info) == found:
        return []
    return [f"size     {INFO} says {OXUM} {stated}, the payload has {found[0]}.{found[1]}"]


def _notes(bag: AnyBag) -> list[str]:
    notes, manifest = [], bag.manifests[0]
    if not manifest.is_ours:
        notes.append(f"another tool wrote this bag: the digest is that of its {manifest.name}, not of a dataset")
    if not bag.tag_manifests:
        notes.append("it has no tag manifest: of its other files, such as bag-info.txt, nothing is known")
    return notes
