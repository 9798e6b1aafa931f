"""Provenance: what an image was made from, and how, in a standard format.

An in-toto Statement v1 (https://in-toto.io/Statement/v1) with a SLSA Provenance v1 predicate
(https://slsa.dev/provenance/v1). It contains no time and nothing about the machine: the same build gives the same
bytes. A signature of it is in a file of its own (`datapack.signing`). ``docs/reference/provenance-fields.md`` describes
every field, and how to check them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from datapack import __version__
from datapack.bag.manifest import MANIFEST
from datapack.errors import ImageError
from datapack.files import atomic_writer, remove_temporaries
from datapack.hashing import digest_of
from datapack.image.stand_in import STAND_IN
from datapack.oci.named_sbom import byproduct
from datapack.oci.spec import canonical_json
from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.catalog.git import Commit
    from datapack.catalog.lock import LockEntry
    from datapack.catalog.model import Entry
    from datapack.image.base import Base
    from datapack.image.config import Image
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://datapack.github.io/provenance/build/v1"
BUILDER = "https://datapack.github.io/provenance/builder/v1"
CHECKS = "datapack check"
_ON_DISK = {"oci", "oci-archive"}  # targets on disk: the provenance is written beside them


def statement(
    entry: Entry,
    base: Base,
    bag: Bag,
    image: Image,
    locked: LockEntry,
    commit: Commit | None,
    checked: Mapping[str, Any],
    parts: bytes,
) -> bytes:
    """Return the statement of what an image was made from.

    Args:
        entry: the catalog entry.
        base: the base image.
        bag: the version's bag.
        image: the image, which is the statement's subject.
        locked: the bag's entry in the lock, with DVC's hash and the version's origins.
        commit: the catalog's commit when it was read, if git knows it.
        checked: what the checks of the data found, as JSON.
        parts: the image's SBOM.
    """
    found = [_base(base), _manifest(bag), *_dvc(entry.reference, locked.dvc)]
    dependencies = [*found, *_origins(locked), *_catalog(commit)]
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": [{"name": image.tag, "digest": _digest(image.digest)}],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": _parameters(entry, base, image),
                    "resolvedDependencies": dependencies,
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": {"datapack": __version__}},
                    "byproducts": [_checks(checked), byproduct(parts)],
                },
            },
        }
    )


def write(workspace: Workspace, image: Image, target: str | None, content: bytes) -> Path:
    """Write a statement beside its image and return its path.

    Args:
        workspace: held by the caller.
        image: the statement's subject.
        target: the target from the command line; if it is not on disk, the statement goes to ``dist/``.
        content: the statement.

    Raises:
        ImageError: there is a folder at its path.
    """
    form, _, name = (target or "").partition(":")
    beside = (
        workspace.root / name
        if form in _ON_DISK and name != "-"
        else workspace.dist(image.reference, runnable=image.runnable)
    )
    path = beside.parent.resolve() / f"{beside.name}.provenance.json"
    if path.is_relative_to(workspace.root):
        remove_temporaries(path.parent)
    if path.is_dir():
        raise ImageError(
            "a folder is where the provenance should go", where=path, fix="move it away and run the same command again"
        )
    if not (path.is_file() and path.read_bytes() == content):
        with atomic_writer(path) as file:
            file.write(content)
    return path


def _parameters(entry: Entry, base: Base, image: Image) -> dict[str, Any]:
    """Return the inputs: the base, and the version's part of the catalog, without defaults."""
    version = entry.version.model_dump(mode="json", exclude_defaults=True)
    kind = {"runnable": True} if image.runnable else {}
    return {"reference": str(entry.reference), "base": base.text, **kind, **_without_secrets(version)}


def _without_secrets(value: Any) -> Any:
    """Remove user names, passwords and signatures from all URLs in a value."""
    match value:
        case dict():
            return {_without_secrets(key): _without_secrets(part) for key, part in value.items()}
        case list():
            return [_without_secrets(part) for part in value]
        case str() if value.startswith(("http://", "https://")):
            return hide_secrets(value)
        case _:
            return value


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _base(base: Base) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "base", "digest": _digest(base.digest)}
    if not base.is_on_disk:
        found["uri"] = _package_url(base)
    if base.is_stand_in:
        found["annotations"] = {STAND_IN: "true"}
    return found


def _package_url(base: Base) -> str:
    """Return an image's package URL of type ``oci``, as the package URL specification defines it."""
    folder, slash, last = base.name.rpartition("/")
    name, _, tag = last.partition(":")
    qualifiers = {"repository_url": f"{folder}{slash}{name}", "tag": tag}
    written = "&".join(f"{key}={quote(value, safe='/:')}" for key, value in qualifiers.items() if value)
    return f"pkg:oci/{quote(name, safe='')}@{quote(base.digest, safe='')}?{written}"


def _manifest(bag: Bag) -> dict[str, Any]:
    """Describe the file list by its digest: a million names would make a statement that few tools read."""
    amount = {"files": len(bag.listing.files), "bytes": bag.listing.size}
    return {"name": MANIFEST, "digest": _digest(bag.manifest.digest), "annotations": amount}


def _checks(checked: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what the checks found; the digest is that of the annotations as canonical JSON."""
    return {"name": CHECKS, "digest": _digest(digest_of(canonical_json(checked))), "annotations": dict(checked)}


def _dvc(reference: Reference, tracked: str | None) -> list[dict[str, Any]]:
    if tracked is None:
        return []
    return [{"name": f"data/{reference.name}/{reference.version}", "digest": {"md5": tracked.removesuffix(".dir")}}]


def _origins(locked: LockEntry) -> list[dict[str, Any]]:
    return [{"name": name, "digest": _digest(digest)} for name, digest in sorted(locked.origins.items())]


def _catalog(commit: Commit | None) -> list[dict[str, Any]]:
    if commit is None:
        return []
    found: dict[str, Any] = {
        "name": commit.path,
        "digest": {"gitCommit": commit.id},
        "annotations": {"changed": commit.changed},
    }
    return [{**found, "uri": f"{commit.remote}@{commit.id}"} if commit.remote else found]
