"""The disk that a build needs, and where: the bag, DVC's cache, the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.dvc.settings import link_types, read_setting
from datapack.text import size
from datapack.versions.usage import existing, free_bytes, is_on_same_disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Place:
    """A folder, and how many bytes are written there; None if that is not known."""

    name: str
    path: Path
    needed: int | None
    estimated: bool = False
    note: str = ""


@dataclass(frozen=True)
class Disk:
    """A disk: what all places on it need together, and what is free."""

    path: Path  # of the first place on it
    needed: int | None
    free: int

    @property
    def fits(self) -> bool | None:
        """Whether there is enough space; None if that is not known."""
        return None if self.needed is None else self.needed <= self.free


def disks(places: Iterable[Place]) -> tuple[Disk, ...]:
    """Add up what is needed on each disk."""
    by_device: dict[int, list[Place]] = {}
    for place in places:
        by_device.setdefault(existing(place.path).stat().st_dev, []).append(place)
    return tuple(Disk(on_it[0].path, _total(on_it), free_bytes(on_it[0].path)) for on_it in by_device.values())


def _total(places: Sequence[Place]) -> int | None:
    known = [place.needed for place in places if place.needed is not None]
    return sum(known) if len(known) == len(places) else None


def cache_place(workspace: Workspace, bag: Path, new: int | None, *, estimated: bool) -> Place:
    """Return what DVC's cache needs for new files of a bag: nothing, if it can link to them."""
    cache = DvcCache.of(workspace.root)
    links = _links(workspace, cache, bag)
    if "hardlink" in links:
        return Place("cache", cache.folder, 0, note=f"{' or '.join(links)}: the data is on the disk once")
    unless = ", unless the disk can share blocks" if links else ""
    return Place("cache", cache.folder, new, estimated, f"a copy{unless}: the data is on the disk twice")


def _links(workspace: Workspace, cache: DvcCache, bag: Path) -> list[str]:
    """Return the kinds of links by which files get into the cache; none if they are copied."""
    if not is_on_same_disk(cache.folder, bag):
        return []
    if not read_setting(workspace.root, "cache", "type"):
        return ["reflink", "hardlink"]  # what datapack sets where nobody has chosen
    return [link for link in link_types(workspace.root) if link != "copy"]


def shortage(disk: Disk) -> str:
    """Say that a disk has too little space; an empty string if it has enough, or if that is not known."""
    if disk.needed is None or disk.fits:
        return ""
    return f"{disk.path}: not enough space on the disk: expected {size(disk.needed)}, found {size(disk.free)} free"
