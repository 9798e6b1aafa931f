"""Everything that is known about a version: what the catalog and the lock say, and what this machine has of it.

Names and sizes are read, and no byte of the data. Nothing is asked over a network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.bag.listing import is_folder
from datapack.catalog.git import first_day_of
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.catalog.model_summary import UNKNOWN, known_model, labelled, model_json
from datapack.errors import FetchError, VersioningError
from datapack.fetch.dvc.pointer import has_pointer
from datapack.files import read_limited
from datapack.image.stand_in import STAND_IN_MEANS
from datapack.signing.files import files_beside
from datapack.text import counted, size
from datapack.versions.copies import open_bag
from datapack.versions.cost import public_label
from datapack.versions.listing import built
from datapack.versions.objects import is_cached
from datapack.versions.remove import find_entry, pushed_to
from datapack.versions.usage import measure
from datapack.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.bag.model_facts import ModelFacts
    from datapack.catalog.lock import LockEntry
    from datapack.catalog.model import Entry
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

_FACTS = ("title", "licence", "private", "homepage", "publisher", "contact")
_GOVERNANCE = ("owner", "purpose")
_REPORT_LIMIT = 1 << 28  # bytes of a report of failures
_REHEARSALS = 3  # shown: the last ones
_RECEIPT_LIMIT = 1 << 20  # bytes
_WIDTH = 12  # columns of a label


@dataclass(frozen=True)
class Shown:
    """Everything about a version, as JSON has it."""

    reference: Reference
    catalog: dict[str, Any] | None  # None if it was withdrawn
    family: dict[str, Any]
    lock: dict[str, Any] | None
    here: dict[str, Any]
    then: tuple[str, ...]  # commands that come next
    model: ModelFacts | None = None  # what is known of a model; it is in `catalog` too

    def to_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "reference": str(self.reference),
            "catalog": self.catalog,
            "family": self.family,
            "lock": self.lock,
            "here": self.here,
            "next": list(self.then),
        }


def show(workspace: Workspace, reference: Reference) -> Shown:
    """Collect everything about a version.

    Raises:
        UsageError: neither the catalog nor the lock has it, and nothing of it is here.
    """
    catalog, lock = Catalog.read(workspace.catalog), Lock.read(workspace.lock)
    entry, locked = find_entry(workspace, reference), lock.entries.get(reference)
    here = _here(workspace, lock, reference)
    model = known_model(workspace, entry) if entry else None
    return Shown(
        reference=reference,
        catalog=_described(workspace, entry, model) if entry else None,
        family=_family(catalog, lock, reference, entry),
        lock=_locked(workspace, locked) if locked else None,
        here=here,
        then=tuple(_next(reference, entry, here)),
        model=model,
    )


def _described(workspace: Workspace, entry: Entry, model: ModelFacts | None) -> dict[str, Any]:
    """Return what the catalog says, with the line of each source."""
    file, reference = YamlFile.read(workspace.catalog), entry.reference
    place = ("datasets", reference.name, "versions", reference.version)
    sources = []
    for number, source in enumerate(entry.sources):
        kind, what = public_label(source)
        line = file.line((*place, "sources", number))
        sources.append({"kind": kind, "what": what, "into": source.into, "line": line})
    facts = {name: getattr(entry.dataset, name) for name in _FACTS}
    facts |= entry.governance.model_dump(mode="json")
    facts |= {"kind": entry.dataset.kind, "model": model_json(model) if model else None}
    return {**facts, "line": file.line(place), "sources": sources, "base": entry.base}


def _family(catalog: Catalog, lock: Lock, reference: Reference, entry: Entry | None) -> dict[str, Any]:
    """Return the versions that this one is based on or made from, and those that are so of this one."""
    entries = catalog.entries()
    locked = lock.entries.get(reference)
    parent = (entry.version.parent if entry else None) or (locked.parent if locked else None)
    return {
        "parent": f"{reference.name}@{parent}" if parent else None,
        "children": [str(other.reference) for other in entries if other.parent == reference],
        "made_from": sorted(_origins(entry)) if entry else [],
        "made_into": [str(other.reference) for other in entries if str(reference) in _origins(other)],
    }


def _origins(entry: Entry) -> set[str]:
    """Return the versions that sources take files from."""
    return {str(origin.reference) for origin in entry.origins}


def _locked(workspace: Workspace, locked: LockEntry) -> dict[str, Any]:
    """Return what the lock says; the days are those of git's commits of the lock."""
    image = locked.image
    return {
        "digest": locked.digest,
        "files": locked.files,
        "bytes": locked.bytes,
        "day": first_day_of(workspace.lock, locked.digest),
        "dvc": locked.dvc,
        "base": locked.base,
        "stand_in": bool(locked.stand_in),
        "image": image.digest if image else None,
        "image_id": image.id if image else None,
        "image_day": first_day_of(workspace.lock, image.digest) if image else None,
        "layers": list(image.layers) if image else [],
        "runnable": {"digest": locked.runnable.digest, "base": locked.runnable.base} if locked.runnable else None,
    }


def _here(workspace: Workspace, lock: Lock, reference: Reference) -> dict[str, Any]:
    """Return what this machine has."""
    locked = lock.entries.get(reference)
    image = locked.image.digest if locked and locked.image else None
    return {
        "bag": _bag(workspace, reference, locked),
        "partial": _folder(workspace.partial_bag(reference)),
        "failures": _failures(workspace.failures(reference)),
        "pointer": _path(workspace.pointer(reference)) if has_pointer(workspace.pointer(reference)) else None,
        "dvc_cache": _cached(workspace, lock, reference),
        "image": built(workspace, reference, image) or None,
        "dist": _folder(workspace.dist(reference)),
        "provenance": _path(workspace.provenance(reference)),
        "signatures": _signatures(workspace, reference),
        "rehearsals": _rehearsals(workspace, reference),
        "pushed_to": pushed_to(workspace, lock, reference),
    }


def _bag(workspace: Workspace, reference: Reference, locked: LockEntry | None) -> dict[str, Any] | None:
    path = workspace.bag(reference)
    if not path.exists():
        return None
    bag = open_bag(path)
    state = "incomplete" if bag is None else "as locked" if _is_locked(bag.manifest.digest, locked) else "not as locked"
    return {"path": str(path), "state": state, "files": bag and bag.files, "bytes": bag and bag.bytes}


def _is_locked(digest: str, locked: LockEntry | None) -> bool:
    return locked is not None and locked.digest == digest


def _folder(path: Path) -> dict[str, Any] | None:
    if not is_folder(path):
        return None
    usage = measure([path])
    return {"path": str(path), "files": usage.files, "bytes": usage.bytes}


def _path(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def _failures(path: Path) -> dict[str, Any] | None:
    """Return how many files could not be fetched the last time."""
    if not path.is_file():
        return None
    try:
        number = len(json.loads(read_limited(path, _REPORT_LIMIT, FetchError))["failures"])
    except (FetchError, ValueError, LookupError, TypeError, RecursionError):
        number = None
    return {"path": str(path), "files": number}


def _cached(workspace: Workspace, lock: Lock, reference: Reference) -> str:
    try:
        return "has it whole" if is_cached(workspace, lock, reference) else "does not have it whole"
    except VersioningError as error:
        return f"unknown: {error}"


def _signatures(workspace: Workspace, reference: Reference) -> list[str]:
    """Return the signature files of the bag and of its images; nothing has checked them."""
    images = [workspace.dist(reference, runnable=runnable) for runnable in (False, True)]
    return [str(file) for path in (workspace.bag(reference), *images) for file in files_beside(path)]


def _rehearsals(workspace: Workspace, reference: Reference) -> list[dict[str, Any]]:
    """Return the last rehearsals, the newest first, each with the last line of its receipt."""
    folders = sorted((path for path in workspace.rehearsals(reference).glob("*") if is_folder(path)), reverse=True)
    return [{"path": str(folder), "receipt": _receipt(folder, reference)} for folder in folders[:_REHEARSALS]]


def _receipt(folder: Path, reference: Reference) -> str | None:
    for path in folder.glob(f"*/{reference.name}/{reference.version}.import.txt"):
        lines = read_limited(path, _RECEIPT_LIMIT, FetchError, follow=False).decode(errors="replace").splitlines()
        return lines[-1] if lines else None
    return None


def _next(reference: Reference, entry: Entry | None, here: dict[str, Any]) -> Iterator[str]:
    """Yield the commands that come next."""
    if entry is None:
        yield f"datapack remove {reference}   # the catalog no longer has it"
    elif here["image"] != "here":
        yield f"datapack plan {reference}"
        if here["bag"]:
            yield f"datapack check {reference}"
        yield f"datapack {'build' if here['bag'] else 'fetch'} {reference}"
    else:
        yield f"datapack run {reference}"
        yield f"datapack push {reference}"


def table(shown: Shown, root: Path) -> list[str]:
    """Format everything about a version; paths are relative to ``root``."""
    lines = [str(shown.reference), *_catalog_lines(shown.catalog, shown.model), *_family_lines(shown.family)]
    lines += ["", *_lock_lines(shown.lock), "", *_here_lines(shown.here, root)]
    return [*lines, "", *(f"{'next' if not number else '':{_WIDTH}}{line}" for number, line in enumerate(shown.then))]


def _labelled(label: str, *values: str | None) -> list[str]:
    """Return a line for each value; the first one has the label."""
    known = [value for value in values if value]
    return [f"{label if not number else '':{_WIDTH}}{value}" for number, value in enumerate(known)]


def _catalog_lines(catalog: dict[str, Any] | None, model: ModelFacts | None) -> list[str]:
    if catalog is None:
        return _labelled("catalog", "withdrawn: datasets.yml no longer has it")
    access = "private: not everybody may have it" if catalog["private"] else "public"
    lines = [line for name in _FACTS if name != "private" for line in _labelled(name, catalog[name])]
    lines += _labelled("access", access)
    lines += [line for name in _GOVERNANCE for line in _labelled(name, catalog[name])]
    lines += _labelled("projects", ", ".join(catalog["projects"]))
    if kept := catalog["retention"]:
        lines += _labelled("retention", f"{kept['until'] or kept['period']}: {kept['reason']}")
    if catalog["kind"] == "model":
        lines += _model_lines(model)
    sources = [
        f"{source['kind']} {source['what']}{' into ' + source['into'] if source['into'] else ''}"
        f"   datasets.yml:{source['line']}"
        for source in catalog["sources"]
    ]
    return [*lines, *_labelled("sources", *sources)]


def _model_lines(model: ModelFacts | None) -> list[str]:
    if model is None:
        return _labelled("model", UNKNOWN)
    return [line for label, value in labelled(model) for line in _labelled(label, value)]


def _family_lines(family: dict[str, Any]) -> list[str]:
    return [
        *_labelled("parent", family["parent"]),
        *_labelled("children", ", ".join(family["children"])),
        *_labelled("made from", ", ".join(family["made_from"])),
        *_labelled("made into", ", ".join(family["made_into"])),
    ]


def _lock_lines(lock: dict[str, Any] | None) -> list[str]:
    if lock is None:
        return _labelled("lock", "not in datasets.lock yet: it has not been fetched")
    day = f", in git since {lock['day']}" if lock["day"] else ", not in git yet"
    lines = _labelled("dataset", lock["digest"], f"{counted(lock['files'], 'file')}, {size(lock['bytes'])}{day}")
    lines += _labelled("dvc", lock["dvc"])
    if ready := lock["runnable"]:
        lines += _labelled("runnable", ready["digest"], f"base {ready['base']}")
    if not lock["image"]:
        return [*lines, *_labelled("image", "not built yet")]
    day = f", in git since {lock['image_day']}" if lock["image_day"] else ""
    lines += _labelled("image", lock["image"], f"{counted(len(lock['layers']), 'layer')}{day}", f"base {lock['base']}")
    return [
        *lines,
        *_labelled("", f"not for a Safe Haven: it is based on {STAND_IN_MEANS}" if lock["stand_in"] else ""),
    ]


def _here_lines(here: dict[str, Any], root: Path) -> list[str]:
    def place(found: dict[str, Any] | None, what: str = "") -> str:
        if found is None:
            return ""
        size_of = f", {counted(found['files'], 'file')}, {size(found['bytes'])}" if found["bytes"] is not None else ""
        return f"{found['path'].removeprefix(f'{root}/')}{size_of}{what}"

    bag, failures = here["bag"], here["failures"]
    number = counted(failures["files"], "file") if failures and failures["files"] is not None else "files"
    lines = _labelled("bag", place(bag, f", {bag['state']}") if bag else "not here")
    lines += _labelled("partial", place(here["partial"], ": left by an interrupted fetch; the next one resumes"))
    if failures:
        report = failures["path"].removeprefix(f"{root}/")
        lines += _labelled("failures", f"{number} could not be fetched: see {report}")
    lines += _labelled("DVC's cache", here["dvc_cache"])
    image = {"here": "as locked", "elsewhere": "not the image in the lock"}.get(here["image"] or "", "")
    lines += _labelled("dist", place(here["dist"], f", {image}" if image else "") or "no image here")
    lines += _labelled("provenance", (here["provenance"] or "").removeprefix(f"{root}/"))
    lines += _labelled("signatures", *(f"{path.removeprefix(f'{root}/')}, not checked" for path in here["signatures"]))
    for found in here["rehearsals"]:
        receipt = found["receipt"] or "no receipt of an import"
        lines += _labelled("rehearsal", f"{found['path'].removeprefix(f'{root}/')}: {receipt}")
    return [*lines, *_labelled("pushed to", *here["pushed_to"])]
