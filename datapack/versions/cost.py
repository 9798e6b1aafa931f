"""What the sources of a version cost: how many files and bytes each provides, and which of them are here already.

Nothing is asked over a network, so the size of a file on the web is known only if it is here. The size of images that
a COCO file lists is then an estimate, from those that are here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from datapack.bag.fetch_txt import FETCH, read_fetch
from datapack.bag.manifest import PAYLOAD
from datapack.catalog.patterns import Patterns
from datapack.catalog.sources import (
    CocoSource,
    KaggleSource,
    ListSource,
    LocalSource,
    RunSource,
    Source,
    SplitSource,
    UnpackSource,
    UrlSource,
)
from datapack.coco.rows import read_images
from datapack.errors import DatapackError, FetchError
from datapack.fetch.headers import read_headers
from datapack.fetch.kinds.kaggle_credentials import find_kaggle_credential, kaggle_places
from datapack.fetch.kinds.local import is_here, list_local
from datapack.fetch.kinds.run import TAKEN as RUN_FILES
from datapack.fetch.list_file import read_list
from datapack.fetch.payload import payload_path
from datapack.files import FileStat
from datapack.urls import hide_secrets, quote_url, strip_signature
from datapack.versions.copies import open_bag
from datapack.versions.usage import is_on_same_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from datapack.catalog.lock import Lock
    from datapack.catalog.model import Entry
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Amount:
    """A number of files and their bytes, each None if it is not known yet."""

    files: int | None
    bytes: int | None
    estimated: bool = False

    def __add__(self, other: Amount) -> Amount:
        return Amount(_sum(self.files, other.files), _sum(self.bytes, other.bytes), self.estimated or other.estimated)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            _difference(self.files, other.files),
            _difference(self.bytes, other.bytes),
            self.estimated or other.estimated,
        )


NONE = Amount(0, 0)
UNKNOWN = Amount(None, None)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _difference(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(0, one - other)


@dataclass(frozen=True)
class SourceCost:
    """What one source provides."""

    source: Source
    whole: Amount
    here: Amount  # of it that an earlier run left here
    linked: bool = False  # whether its files are links, which take no space
    problem: str = ""  # why it can't work

    @property
    def label(self) -> str:
        """What it is, without the secrets of its URL."""
        return " ".join(public_label(self.source))

    @property
    def missing(self) -> Amount:
        return self.whole - self.here

    @property
    def written(self) -> Amount:
        """What takes space on the disk: the files of another version are links, and those of a local source can be."""
        return Amount(self.missing.files, 0) if self.source.origin or self.linked else self.missing

    @property
    def is_remote(self) -> bool:
        """Whether its files come over a network."""
        return not isinstance(self.source, LocalSource | RunSource | UnpackSource) and self.source.origin is None


def public_label(source: Source) -> tuple[str, str]:
    """Return the kind of a source and what it names, without the secrets of its URL."""
    kind, _, what = source.label.partition(" ")
    return kind, hide_secrets(what) if what.startswith(("http://", "https://")) else what


class Earlier:
    """The payload that a fetch starts from: what a killed run left, the version's own bag, or its parent's."""

    def __init__(self, workspace: Workspace, entry: Entry) -> None:
        bags = [workspace.bag(each) for each in (entry.reference, entry.parent) if each]
        partial = workspace.partial_bag(entry.reference)
        folders = [partial, *bags] if open_bag(bags[0]) or not bags[0].exists() else [*bags[:1], partial]
        self._bag = next((folder for folder in folders if folder.is_dir()), None)
        self._urls = read_fetch(self._bag / FETCH) if self._bag else {}

    def path(self, path: str) -> Path | None:
        """Return where a file of the payload is, if it is here."""
        found = self._bag / PAYLOAD / path if self._bag else None
        return found if found and found.is_file() and not found.is_symlink() else None

    def stat(self, path: str, url: str = "") -> FileStat | None:
        """Return the size and time of a file that was fetched from this URL, or copied from this machine."""
        found = self.path(path)
        if found is None or quote_url(strip_signature(url)) != self._urls.get(f"{PAYLOAD}/{path}", ""):
            return None
        return FileStat.of(found.stat())


@dataclass(frozen=True)
class _Context:
    """What is known while the sources of a version are counted, in order."""

    workspace: Workspace
    bag: Path
    earlier: Earlier
    lock: Lock
    local: Mapping[str, Path]  # the files of local sources, by their path in the payload


def count_sources(workspace: Workspace, entry: Entry, lock: Lock) -> tuple[SourceCost, ...]:
    """Count what the sources of a version provide."""
    context = _Context(workspace, workspace.bag(entry.reference), Earlier(workspace, entry), lock, {})
    costs = []
    for source in entry.sources:
        count = _COUNT.get(type(source), _count_nothing)
        try:
            read_headers(source)
            cost, local = count(source, context)
        except DatapackError as error:
            cost, local = SourceCost(source, UNKNOWN, NONE, problem=str(error)), {}
        context = replace(context, local={**context.local, **local})
        costs.append(cost)
    return tuple(costs)


if TYPE_CHECKING:
    _Counted = tuple[SourceCost, dict[str, Path]]


def _count_nothing(source: Source, context: _Context) -> _Counted:
    """Count a source whose files are known only when it is asked."""
    return SourceCost(source, UNKNOWN, NONE), {}


def _count_local(source: LocalSource, context: _Context) -> _Counted:
    if not is_here(source, context.workspace.root):
        fix = None if source.is_outside else f"it must be below {context.workspace.root}"
        raise FetchError("no such file", where=source.label, fix=fix)
    excluded = Patterns(source.exclude)
    found = list_local(source, context.workspace.root, context.bag, excluded)
    paths = {payload_path(source.into, name): context.workspace.root / path for name, path in found}
    stats = {name: FileStat.of(path.lstat()) for name, path in paths.items()}
    here = [stat.size for name, stat in stats.items() if context.earlier.stat(name) == stat]
    whole = Amount(len(stats), sum(stat.size for stat in stats.values()))
    linked = source.link and all(is_on_same_disk(path, context.bag) for path in list(paths.values())[:1])
    return SourceCost(source, whole, Amount(len(here), sum(here)), linked), paths


def _count_run(source: RunSource, context: _Context) -> _Counted:
    """Count the files of a run that are taken."""
    folder = context.workspace.root / source.run
    if not folder.is_dir():
        raise FetchError("no such folder", where=source.label)
    stats = {name: FileStat.of((folder / name).stat()) for name in RUN_FILES if (folder / name).is_file()}
    here = [stat.size for name, stat in stats.items() if context.earlier.stat(payload_path(source.into, name)) == stat]
    whole = Amount(len(stats), sum(stat.size for stat in stats.values()))
    return SourceCost(source, whole, Amount(len(here), sum(here))), {}


def _count_url(source: UrlSource, context: _Context) -> _Counted:
    return _count_files(source, {payload_path(source.into, source.file_name): source.url}, context), {}


def _count_kaggle(source: KaggleSource, context: _Context) -> _Counted:
    files = [payload_path(source.into, name) for name in source.files]
    here = [size for name in files if (size := _size_here(context, name)) is not None]
    whole = sum(here) if len(here) == len(files) else None
    problem = ""
    if whole is None and find_kaggle_credential() is None:
        problem = f"{source.label}: no Kaggle credential in {kaggle_places()}"
    return SourceCost(source, Amount(len(files), whole), Amount(len(here), sum(here)), problem=problem), {}


def _count_split(source: SplitSource, context: _Context) -> _Counted:
    """Count a split: about what it divides, which the lock has once that was fetched."""
    origin = context.lock.entries.get(source.origin)
    whole = Amount(origin.files, origin.bytes, estimated=True) if origin else UNKNOWN
    return SourceCost(source, whole, NONE), {}


def _size_here(context: _Context, name: str) -> int | None:
    found = context.earlier.path(name)
    return found.stat().st_size if found else None


def _count_coco(source: CocoSource, context: _Context) -> _Counted:
    """Count the images of a COCO file that is here: in a local source, or in what an earlier run fetched."""
    path = context.local.get(source.coco) or context.earlier.path(source.coco)
    if path is None:
        return SourceCost(source, UNKNOWN, NONE), {}
    excluded = Patterns(source.exclude)
    urls = {payload_path(source.into, name): url for name, url in _listed(path) if not excluded.match(name)}
    return _count_files(source, urls, context), {}


def _count_list(source: ListSource, context: _Context) -> _Counted:
    """Count the files of a list that is here; many lists have their sizes."""
    path = context.local.get(source.list) or context.earlier.path(source.list)
    if path is None:
        return SourceCost(source, UNKNOWN, NONE), {}
    excluded = Patterns(source.exclude)
    rows = [row for row in read_list(path, source.list, source.base) if not excluded.match(row.path)]
    cost = _count_files(source, {payload_path(source.into, row.path): row.url for row in rows}, context)
    sizes = [row.size for row in rows if row.size is not None]
    if len(sizes) == len(rows):
        cost = replace(cost, whole=Amount(len(rows), sum(sizes)))
    return cost, {}


def _listed(path: Path) -> Iterable[tuple[str, str]]:
    for row in read_images(path):
        if isinstance(row, dict) and isinstance(name := row.get("file_name"), str):
            yield name, str(row.get("coco_url") or row.get("flickr_url") or "")


def _count_files(source: Source, urls: Mapping[str, str], context: _Context) -> SourceCost:
    """Count files on the web; those that are not here have the mean size of those that are."""
    stats = (context.earlier.stat(name, url) for name, url in urls.items())
    here = [stat.size for stat in stats if stat]
    found = Amount(len(here), sum(here))
    if len(here) == len(urls):
        return SourceCost(source, found, found)
    whole = round(sum(here) / len(here) * len(urls)) if here else None
    return SourceCost(source, Amount(len(urls), whole, whole is not None), found)


_COUNT: Mapping[type[Source], Callable[[Any, _Context], _Counted]] = {
    CocoSource: _count_coco,
    KaggleSource: _count_kaggle,
    ListSource: _count_list,
    LocalSource: _count_local,
    RunSource: _count_run,
    SplitSource: _count_split,
    UrlSource: _count_url,
}
