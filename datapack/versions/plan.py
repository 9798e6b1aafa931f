"""The plan of a build: what it would fetch, which disk it needs and where, and what a push would send.

Nothing is changed and no data is fetched. Only a registry that is the target is asked which layers it has. What cannot
be known is called unknown, and what is guessed from something else is marked as an estimate.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal

from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.catalog.model_summary import UNKNOWN, known_model, summary
from datapack.errors import BagError, DatapackError
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.dvc.pointer import has_pointer, read_pointer
from datapack.fetch.dvc.settings import read_setting
from datapack.fetch.job import FetchOptions, is_stale
from datapack.targets import check_target, parse_target
from datapack.versions.copies import open_bag
from datapack.versions.cost import NONE, Amount, SourceCost, count_sources
from datapack.versions.layers import (
    ImageCost,
    estimate_layers,
    image_cost,
    in_layout,
    in_registry,
    locked_cost,
    open_repository,
    plan_layers,
)
from datapack.versions.space import Disk, Place, cache_place, disks, shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from datapack.catalog.model import Entry
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

RATE = 10_000_000  # bytes per second, for an example: no plan can know the real one
#: Where the bag comes from.
Way = Literal["here", "cache", "remote", "sources"]


@dataclass(frozen=True)
class VersionPlan:
    """Where the bag of one version comes from."""

    reference: Reference
    way: Way
    whole: Amount  # the version
    fetched: Amount  # of it, over a network
    written: Amount  # of it, new on this disk
    sources: tuple[SourceCost, ...]  # if they are asked
    is_locked: bool = True  # whether the lock says what the version will be
    model: str | None = None  # what a model is, in short


@dataclass(frozen=True)
class Plan:
    """What a build would do."""

    reference: Reference
    target: str
    connections: int  # to a host at a time
    versions: tuple[VersionPlan, ...]  # to fetch or restore: parents and origins first, then the version itself
    places: tuple[Place, ...]
    disks: tuple[Disk, ...]
    image: ImageCost
    problems: tuple[str, ...]  # why the build can't work

    @property
    def version(self) -> VersionPlan:
        """The plan of the version itself."""
        return self.versions[-1]

    @property
    def fetched(self) -> Amount:
        """What comes over a network, for all versions."""
        return reduce(add, (version.fetched for version in self.versions))

    def to_json(self) -> dict[str, Any]:
        """Return the plan for JSON; what is not known is null."""
        return {
            "reference": str(self.reference),
            "target": self.target,
            "connections": self.connections,
            "versions": [_version_json(version) for version in self.versions],
            "fetch": vars(self.fetched),
            "places": [{**vars(place), "path": str(place.path)} for place in self.places],
            "disks": [{**vars(disk), "path": str(disk.path), "fits": disk.fits} for disk in self.disks],
            "layers": _layers_json(self.image.whole),
            "new_layers": _layers_json(self.image.new),
            "problems": list(self.problems),
        }


def _version_json(version: VersionPlan) -> dict[str, Any]:
    sources = [{"source": cost.label, "whole": vars(cost.whole), "here": vars(cost.here)} for cost in version.sources]
    amounts = {"whole": vars(version.whole), "fetched": vars(version.fetched), "written": vars(version.written)}
    facts = {"reference": str(version.reference), "model": version.model, "from": version.way}
    return {**facts, **amounts, "sources": sources}


def _layers_json(amount: Amount) -> dict[str, Any]:
    return {"count": amount.files, "bytes": amount.bytes, "estimated": amount.estimated}


def plan(
    workspace: Workspace,
    reference: Reference,
    target: str | None,
    reporter: Reporter,
    options: FetchOptions | None = None,
    *,
    insecure: bool = False,
) -> Plan:
    """Plan the build of a version.

    Args:
        workspace: where it is built.
        reference: the version.
        target: as `build` takes it; None for the default one.
        reporter: told what is looked up.
        options: of the fetch.
        insecure: accept a registry without TLS.

    Raises:
        UsageError: the catalog does not have the version, or the target is none.
    """
    catalog, lock = Catalog.read(workspace.catalog), Lock.read(workspace.lock)
    entry, options = catalog.entry(reference), options or FetchOptions()
    if target is not None:
        check_target(target, entry)
    versions = tuple(_versions(workspace, catalog, lock, entry, options))
    image = _image(workspace, catalog, lock, versions[-1], target, reporter, insecure=insecure)
    places = tuple(_places(workspace, versions, image, target))
    found = disks(place for place in places if place.name != "engine")
    problems = [cost.problem for version in versions for cost in version.sources if cost.problem]
    problems += [problem for disk in found if (problem := shortage(disk))]
    problems += [image.problem] if image.problem else []
    name = target or f"oci:{workspace.dist(reference).relative_to(workspace.root)}"
    return Plan(reference, name, entry.connections, versions, places, found, image, tuple(problems))


def _versions(
    workspace: Workspace, catalog: Catalog, lock: Lock, entry: Entry, options: FetchOptions
) -> Iterator[VersionPlan]:
    """Yield the plan of each version that a build gets, those that others need first."""
    needed: dict[Reference, VersionPlan] = {}

    def visit(entry: Entry, options: FetchOptions) -> None:
        own = _version(workspace, lock, entry, options)
        for other in _needs(catalog, lock, entry, own):
            if other.reference not in needed:
                visit(other, FetchOptions())
        needed[entry.reference] = replace(own, model=_model(workspace, entry))

    visit(entry, options)
    return iter(needed.values())


def _model(workspace: Workspace, entry: Entry) -> str | None:
    """Return what a model is, in short; None if the version is none."""
    if not entry.is_model:
        return None
    known = known_model(workspace, entry)
    return summary(known) if known else UNKNOWN


def _needs(catalog: Catalog, lock: Lock, entry: Entry, own: VersionPlan) -> Iterator[Entry]:
    """Yield the versions that one needs: its parent, whose layers it keeps, and those that it is made from."""
    locked = lock.entries.get(entry.reference)
    packed = locked is not None and locked.packing and locked.parent == entry.version.parent
    if entry.parent is not None and not packed:
        parent = lock.entries.get(entry.parent)
        if parent is None or parent.packing is None:
            yield catalog.entry(entry.parent)
    if own.way == "sources":
        yield from entry.origins


def _version(workspace: Workspace, lock: Lock, entry: Entry, options: FetchOptions) -> VersionPlan:
    locked, reference = lock.entries.get(entry.reference), entry.reference
    stale = options.refresh or is_stale(entry, lock)
    whole = Amount(locked.files, locked.bytes) if locked and not stale else None
    bag = None if stale else open_bag(workspace.bag(reference))
    if bag:
        return VersionPlan(reference, "here", Amount(bag.files, bag.bytes), NONE, NONE, ())
    restored = None if stale else _restored(workspace, workspace.pointer(reference))
    if restored:
        way, tracked, fetched = restored
        return VersionPlan(reference, way, whole or tracked, fetched, tracked, ())
    sources = count_sources(workspace, entry, lock)
    if options.refresh:
        sources = tuple(replace(cost, here=NONE) for cost in sources)
    counted = reduce(add, (cost.whole for cost in sources))
    here = reduce(add, (cost.here for cost in sources))
    fetched = reduce(add, (cost.missing for cost in sources if cost.is_remote), NONE)
    written = reduce(add, (cost.written for cost in sources))
    whole = whole or counted
    if None in (fetched.bytes, counted.bytes) and locked and not stale:  # the lock has the sum of all of them
        fetched = Amount(
            fetched.files, (whole - here).bytes if fetched.bytes is None else fetched.bytes, estimated=True
        )
        written = whole - here if written.bytes is None else written
    return VersionPlan(reference, "sources", whole, fetched, written, sources, is_locked=not stale)


def _restored(workspace: Workspace, pointer: Path) -> tuple[Way, Amount, Amount] | None:
    """Return from where DVC can restore a bag, what that is, and what comes over a network; None if it can't."""
    if not has_pointer(pointer):
        return None
    md5, files, output = read_pointer(pointer)
    total = output.get("size") if isinstance(output.get("size"), int) else None
    cache = DvcCache.of(workspace.root)
    names = cache.tree(md5).values()
    present = [cache.path(name).stat().st_size for name in names if cache.has(name)]
    if names and len(present) == len(names):
        return "cache", Amount(files, total), NONE
    if not read_setting(workspace.root, "core", "remote"):
        return None
    return "remote", Amount(files, total), Amount(files, total) - Amount(len(present), sum(present))


def _image(
    workspace: Workspace,
    catalog: Catalog,
    lock: Lock,
    version: VersionPlan,
    target: str | None,
    reporter: Reporter,
    *,
    insecure: bool,
) -> ImageCost:
    """Return what the image costs at its target."""
    whole, entry = estimate_layers(version.whole), catalog.entry(version.reference)
    locked = lock.entries.get(version.reference) if version.is_locked else None
    form, name = parse_target(target) if target else ("oci", str(workspace.dist(version.reference)))
    has: Callable[[str], bool] = _nowhere
    try:
        if form == "oci":
            has = in_layout(workspace.root / name)
        elif form == "docker":
            has = in_registry(open_repository(name, entry, locked, insecure=insecure))
        if version.way == "here":
            with contextlib.suppress(BagError):  # its parent's list of files is not here
                return image_cost(plan_layers(workspace, catalog, entry, lock, reporter), has)
        return locked_cost(locked, whole, has)
    except DatapackError as error:
        return ImageCost(whole, whole, str(error))


def _nowhere(digest: str) -> bool:
    return False


def _places(
    workspace: Workspace, versions: tuple[VersionPlan, ...], image: ImageCost, target: str | None
) -> Iterator[Place]:
    """Yield where the build writes."""
    for version in versions:
        bag, written = workspace.bag(version.reference), version.written
        if version.way == "here":
            continue
        cache = cache_place(workspace, bag, written.bytes, estimated=written.estimated)
        linked = cache.needed == 0 and version.way in {"cache", "remote"}
        yield Place("bag", bag, 0 if linked and version.way == "cache" else written.bytes, written.estimated)
        if version.way != "cache":
            yield cache
    form, name = parse_target(target) if target else ("oci", str(workspace.dist(versions[-1].reference)))
    new, whole = image.new, image.whole
    if form == "oci":
        yield Place("image", workspace.root / name, new.bytes, new.estimated)
    elif form == "oci-archive" and name != "-":
        yield Place("image", workspace.root / name, whole.bytes, whole.estimated)
    elif form == "docker-daemon":
        yield Place("engine", workspace.root, whole.bytes, whole.estimated, "in the engine's own store")
