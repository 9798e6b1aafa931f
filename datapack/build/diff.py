"""The difference between two versions: their files, their layers, and what a push or pull of the second one costs.

If a version is not built yet, its layers are planned. Nothing is fetched, except a missing manifest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.bag.bagit import Bag, PayloadFile, read_tags
from datapack.bag.changes import Changes
from datapack.bag.listing import list_payload
from datapack.bag.manifest import Manifest
from datapack.build.planner import Planner
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.catalog.model_summary import known_model, labelled, model_json, summary
from datapack.errors import BagError, ManifestError, MismatchError, UsageError
from datapack.fetch.history import find_manifest
from datapack.fetch.version import FetchedVersion
from datapack.image.config import dataset_folder
from datapack.image.layers import data_layers, program_layer, tag_layer
from datapack.text import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.bag.model_facts import ModelFacts
    from datapack.build.planner import Lines
    from datapack.catalog.lock import LockEntry
    from datapack.catalog.model import Entry
    from datapack.fetch.job import FetchOptions
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace


NAMES_SHOWN = 3  # per list, without --all
_LABEL = 12  # columns
_BEFORE = "the version before"


@dataclass(frozen=True)
class Amount:
    """A number of files or layers, and their bytes, or None if the bytes are no longer known."""

    count: int
    bytes: int | None

    @property
    def size(self) -> str:
        return "size unknown" if self.bytes is None else size(self.bytes)


@dataclass(frozen=True)
class Diff:
    """How one version differs from another. Bytes of layers are the bytes transferred, including tar headers."""

    before: Reference
    after: Reference
    changes: Changes
    added: Amount
    removed: Amount
    changed: Amount  # bytes as in ``after``
    same: Amount
    shared: Amount  # layers, not counting the base's
    new: Amount
    is_built: bool  # whether the image of ``after`` is in the lock
    other_base: bool  # whether the versions have different bases
    models: tuple[ModelFacts | None, ModelFacts | None] = (None, None)  # what is known of both, if they are models

    def to_json(self) -> dict[str, Any]:
        """Return the difference for JSON; an unknown size is null."""
        files = {
            "added": {**vars(self.added), "paths": list(self.changes.added)},
            "removed": {**vars(self.removed), "paths": list(self.changes.removed)},
            "changed": {**vars(self.changed), "paths": list(self.changes.changed)},
            "same": vars(self.same),
        }
        layers = {"shared": vars(self.shared), "new": vars(self.new)}
        facts = {"built": self.is_built, "other_base": self.other_base}
        models = {
            name: model_json(model) if model else None for name, model in zip(("from", "to"), self.models, strict=True)
        }
        whole = {"from": str(self.before), "to": str(self.after), **facts, "files": files, "layers": layers}
        return {**whole, "models": models if any(self.models) else None}


def diff(workspace: Workspace, before: Reference, after: Reference, reporter: Reporter) -> Diff:
    """Compare two versions of a dataset.

    Raises:
        UsageError: the catalog does not have one of them, or they are the same or of different datasets.
        BagError: one of them is not on this machine, and its manifest can't be found.
    """
    if before == after:
        raise UsageError("the two versions are the same", where=before, fix="name two versions")
    if before.name != after.name:
        raise UsageError(
            "the versions are of different datasets",
            where=after,
            expected=f"a version of {before.name}",
            found=f"a version of {after.name}",
        )
    catalog = Catalog.read(workspace.catalog)
    lock = Lock.read(workspace.lock)
    one, other = (_Version(workspace, catalog.entry(reference), lock, reporter) for reference in (before, after))
    planner = Planner(workspace, catalog, reporter, partial(open_version, workspace))
    layers, others = (planner.layers(version.entry, lock).layers for version in (one, other))
    models = (known_model(workspace, one.entry), known_model(workspace, other.entry))
    return replace(_compare(one, other, layers, others), models=models)


class _Version:
    """What this machine knows about a version."""

    def __init__(self, workspace: Workspace, entry: Entry, lock: Lock, reporter: Reporter) -> None:
        self.entry, self.reference = entry, entry.reference
        self.locked: LockEntry | None = lock.entries.get(entry.reference)
        self._folder = workspace.bag(entry.reference)
        found = find_manifest(workspace, self.reference, self.locked.digest, reporter) if self.locked else None
        self.manifest = found or _open(workspace, entry, lock).manifest
        self.is_here = self._is_here()

    def _is_here(self) -> bool:
        try:
            return Manifest.read(self._folder).digest == self.manifest.digest
        except ManifestError:
            return False

    def sizes(self) -> dict[str, int]:
        """Return the size of each file on this machine, by hash."""
        files = list_payload(self._folder).files if self.is_here else {}
        return {sha256: files[path].size for path, sha256 in self.manifest.hashes.items() if path in files}

    def tags(self) -> dict[str, bytes] | None:
        return read_tags(self._folder) if self.is_here else None


def open_version(workspace: Workspace, entry: Entry, options: FetchOptions, lock: Lock) -> FetchedVersion:
    """Open the bag on disk; a build would fetch a missing one."""
    return FetchedVersion(_open(workspace, entry, lock), lock)


def _open(workspace: Workspace, entry: Entry, lock: Lock) -> Bag:
    """Open the bag on disk; it must match the lock."""
    path, locked = workspace.bag(entry.reference), lock.entries.get(entry.reference)
    if not path.exists():
        fix = f"run 'datapack fetch {entry.reference}' first"
        raise BagError("the version is not on this machine, and its content is unknown", where=entry.reference, fix=fix)
    bag = Bag.open(path)
    if locked and locked.digest != bag.manifest.digest:
        raise MismatchError(
            "the bag is not the one in the lock",
            where=entry.reference,
            expected=locked.digest,
            found=bag.manifest.digest,
        )
    return bag


def _compare(one: _Version, other: _Version, layers: Sequence[Lines], others: Sequence[Lines]) -> Diff:
    changes = Changes.between(one.manifest, other.manifest)
    sizes = one.sizes() | other.sizes()
    old, new = one.manifest.hashes, other.manifest.hashes
    touched = {*changes.added, *changes.changed}
    known = set(map(tuple, layers))
    folder = dataset_folder(other.reference)
    tags = other.tags()
    fresh = [_layer_bytes(layer, sizes, folder) for layer in others if tuple(layer) not in known]
    shared = [_layer_bytes(layer, sizes, folder) for layer in others if tuple(layer) in known]
    return Diff(
        before=one.reference,
        after=other.reference,
        changes=changes,
        added=_amount(sizes.get(new[path]) for path in changes.added),
        removed=_amount(sizes.get(old[path]) for path in changes.removed),
        changed=_amount(sizes.get(new[path]) for path in changes.changed),
        same=_amount(sizes.get(sha256) for path, sha256 in new.items() if path not in touched),
        shared=_amount([program_layer().size, *shared]),
        new=_amount([None if tags is None else tag_layer(tags, folder).size, *fresh]),
        is_built=other.locked is not None and other.locked.image is not None,
        other_base=bool(one.locked and other.locked and None is not one.locked.base != other.locked.base is not None),
    )


def _amount(sizes: Iterable[int | None]) -> Amount:
    every = list(sizes)
    known = [size for size in every if size is not None]
    return Amount(len(every), sum(known) if len(known) == len(every) else None)


def _layer_bytes(layer: Lines, sizes: Mapping[str, int], folder: str) -> int | None:
    """Return the size of a layer's archive, or None if the size of one of its files is unknown."""
    files = [PayloadFile(path, sizes[sha256], sha256) for path, sha256 in layer if sha256 in sizes]
    if len(files) < len(layer):
        return None
    (made,) = data_layers([files], Path(), folder)
    return made.size


def table(found: Diff, all_names: bool = False) -> str:
    """Format a difference as a table."""
    rows = (
        ("FILES", "NUMBER", "SIZE"),
        *((kind, f"{amount.count:,}", amount.size) for kind, amount in _files(found)),
        ("", "", ""),
        ("LAYERS", "NUMBER", "SIZE"),
        *((kind, f"{amount.count:,}", amount.size) for kind, amount in (("shared", found.shared), ("new", found.new))),
    )
    first, second, third = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = (f"{a:{first}}  {b:>{second}}  {c:>{third}}".rstrip() for a, b, c in rows)
    names = _names(found.changes, all_names)
    models = _model_lines(*found.models)
    head = [f"{found.before} -> {found.after}", *([""] if models else []), *models]
    return "\n".join([*head, "", *lines, "", *names, *([""] if names else []), *_cost(found)])


def _model_lines(before: ModelFacts | None, after: ModelFacts | None) -> list[str]:
    """Say what differs between two models."""
    if before is None or after is None:
        return []
    rows = ((label, one, other) for (label, one), (_, other) in zip(labelled(before), labelled(after), strict=True))
    differing = [(label, one or "not known", other or "not known") for label, one, other in rows if one != other]
    lines = [f"{label:{_LABEL}}{one} -> {other}" for label, one, other in differing]
    if before.categories != after.categories and not any(label == "categories" for label, _, _ in differing):
        lines.append(f"{'categories':{_LABEL}}others beyond the first, or with other ids")
    return lines or [f"{'model':{_LABEL}}{summary(after)}, like {_BEFORE}"]


def _files(found: Diff) -> tuple[tuple[str, Amount], ...]:
    return (("added", found.added), ("removed", found.removed), ("changed", found.changed), ("same", found.same))


def _names(changes: Changes, all_names: bool) -> list[str]:
    if all_names:
        return list(changes.lines())
    lines: list[str] = []
    for kind in (Changes(added=changes.added), Changes(removed=changes.removed), Changes(changed=changes.changed)):
        named = kind.lines()
        lines += named[:NAMES_SHOWN]
        if len(named) > NAMES_SHOWN:
            lines.append(f"{'':8} and {len(named) - NAMES_SHOWN:,} more; use --all to list them")
    return lines


def _cost(found: Diff) -> list[str]:
    """Say what a push and a pull cost."""
    layers = found.shared.count + found.new.count
    cost = f"push: {found.new.count:,} of {counted(layers, 'layer')}, {found.new.size}"
    if found.new.bytes is not None and found.shared.bytes is not None:
        whole = found.new.bytes + found.shared.bytes
        cost += f", {_share(found.new.bytes, whole)} the whole {size(whole)}"
    lines = [cost, f"pull: the same for users who have {found.before}"]
    if found.other_base:
        lines.append("The two versions have different bases: the layers of the new base are added.")
    if not found.is_built:
        lines.append(f"{found.after} is not built yet, so its layers are planned.")
    return lines


def _share(part: int, whole: int) -> str:
    ratio = whole / part
    if ratio < 1.1:  # noqa: PLR2004 - two digits can hardly tell less than this from 1
        return "nearly"
    return f"about {ratio:,.0f} times less than" if ratio > 10 else f"about {ratio:.2g} times less than"  # noqa: PLR2004 - two digits
