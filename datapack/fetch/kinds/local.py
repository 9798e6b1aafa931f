"""Fetch files from this machine: copy them, let both files share blocks of the disk, or link them."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import FetchError
from datapack.fetch.context import SourceResult
from datapack.fetch.copies import Copy, Way, choose_way, copy_all
from datapack.fetch.payload import WantedFile, payload_path
from datapack.files import FileStat, check_space, disk_errors, sync_folder
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datapack.catalog.patterns import Patterns
    from datapack.catalog.sources import LocalSource
    from datapack.fetch.context import FetchContext
    from datapack.fetch.payload import Payload

_MAGIC = re.compile(r"[*?[]")


def fetch_local(source: LocalSource, context: FetchContext) -> SourceResult:
    """Copy or link the files. One with the size and modification time of its source is not copied again."""
    payload, empty = context.payload, list[str]()
    files = [
        _LocalFile(WantedFile(payload_path(source.into, name), source.label), path, _stat_regular(path, source.label))
        for name, path in find_local(source, context, empty)
    ]
    if not files and context.excluded.unused.issuperset(source.exclude):
        raise _nothing(source, empty, context)
    _note_empty(source, empty, context)
    present = payload.claim([file.wanted for file in files])
    with disk_errors(payload.folder):
        way = choose_way(files[0].path, payload.folder, link=source.link) if files else Way.COPY
    if source.link and files and way is not Way.LINK:
        context.reporter.note(f"{source.label}: can't be linked from its disk, so the files are copied")
    same = [file for file in files if present.get(file.wanted) == file.stat and _is_as_wanted(payload, file, way)]
    payload.keep({file.wanted: file.stat for file in same})
    to_copy = [file for file in files if not payload.has(file.wanted.path)]
    total = sum(file.stat.size for file in to_copy)
    with disk_errors(payload.folder):
        check_space(payload.folder, total if way is Way.COPY else 0)
    doing = "linking" if way is Way.LINK else "copying"
    with context.reporter.progress(f"{doing} {source.local}", total, "B") as advance:
        _copy_all(payload, to_copy, way, advance)
    return SourceResult()


def _is_as_wanted(payload: Payload, file: _LocalFile, way: Way) -> bool:
    """Whether a file in the payload is a link to its source just where links are wanted."""
    linked = os.path.samestat(os.lstat(payload.folder / file.wanted.path), os.lstat(file.path))
    return linked == (way is Way.LINK)


def _copy_all(payload: Payload, files: list[_LocalFile], way: Way, advance: Callable[[int], None]) -> None:
    copies = [Copy(file.path, payload.folder / file.wanted.path, file.stat.size) for file in files]
    for file, copied in zip(files, copy_all(copies, way, advance), strict=True):
        payload.add(file.wanted, copied.sha256, copied.stat)
    with disk_errors(payload.folder):
        for folder in {file.wanted.path.rpartition("/")[0] for file in files}:
            sync_folder(payload.folder / folder)


class _LocalFile(NamedTuple):
    """A file that the source names: its path on disk, and its size and time there."""

    wanted: WantedFile
    path: str
    stat: FileStat


def _nothing(source: LocalSource, empty: list[str], context: FetchContext) -> FetchError:
    """Return the error for a source that has no file, though it excludes none."""
    path = context.catalog_folder / source.local
    if not path.is_dir():
        fix = None if source.is_outside else f"it must be below {context.catalog_folder}"
        return FetchError("no such file", where=source.label, fix=fix)
    found = "only empty folders" if empty else None
    return FetchError("the folder holds no files", where=source.label, found=found, fix=f"put the files into {path}")


def is_here(source: LocalSource, folder: Path) -> bool:
    """Whether what the source names is in this folder; of a glob, whether its fixed part is."""
    path = folder / source.local
    if not os.path.lexists(path) and _MAGIC.search(source.local):
        path = folder / _fixed_part(source.local)
    return os.path.lexists(path)


def _note_empty(source: LocalSource, empty: list[str], context: FetchContext) -> None:
    if empty:
        folders, are = counted(len(empty), "empty folder"), "is" if len(empty) == 1 else "are"
        context.reporter.note(
            f"{source.label}: {folders} {are} left out, such as {min(empty)}: a dataset holds only files; "
            "to keep a folder, put a file into it"
        )


def find_local(source: LocalSource, context: FetchContext, empty: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the files of a source as `list_local` does."""
    return list_local(source, context.catalog_folder, context.payload.bag, context.excluded, empty)


def list_local(
    source: LocalSource, folder: Path, bag: Path, excluded: Patterns, empty: list[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the files that the source does not exclude: the name below `into`, and the path.

    Args:
        source: the source.
        folder: the catalog's folder.
        bag: the bag, which must not be copied into itself.
        excluded: what is excluded.
        empty: gets the names of folders that have no entry.

    Raises:
        FetchError: there is a link on the way, a folder can't be read, or the bag would be copied into itself.
    """
    walk = _Walk(source.label, folder, bag, excluded, [] if empty is None else empty)
    try:
        yield from walk.find(source.local)
    except OSError as error:
        fix = "check the name and the permissions"
        raise FetchError(
            "can't read this", where=error.filename or source.label, found=error.strerror, fix=fix
        ) from error


@dataclass(frozen=True)
class _Walk:
    """A walk through the files that a source names."""

    where: str
    root: Path
    bag: Path
    excluded: Patterns
    empty: list[str]

    def find(self, local: str) -> Iterator[tuple[str, str]]:
        top = Path(os.path.normpath(self.root / local))  # no link is followed, so ".." is the folder above
        if not os.path.lexists(top) and _MAGIC.search(local):
            yield from self._find_glob(local)
            return
        self._check_plain(top)
        self._check_not_bag(top)
        if top.is_dir():
            yield from self._find_below(top)
        elif not self.excluded.match(top.name):
            top.lstat()  # raises an error if there is none
            yield top.name, str(top)

    def _find_below(self, top: Path) -> Iterator[tuple[str, str]]:
        pending = [""]
        while pending:
            folder = pending.pop()
            entries = sorted(os.scandir(top / folder), key=lambda entry: entry.name)
            if not entries and folder:
                self.empty.append(folder.rstrip("/"))
            below = []
            for entry in entries:
                name = folder + entry.name
                if self.excluded.match(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(f"{name}/")
                else:
                    yield name, entry.path
            pending += reversed(below)

    def _find_glob(self, local: str) -> Iterator[tuple[str, str]]:
        fixed = _fixed_part(local)
        top, pattern = Path(os.path.normpath(self.root / fixed)), str(PurePosixPath(local).relative_to(fixed))
        self._check_plain(top)
        for match in sorted(glob.glob(pattern, root_dir=top, recursive=True)):  # noqa: PTH207 - Path.glob takes hidden files
            name, path = str(PurePosixPath(match)), top / match
            if self.excluded.match(name):
                continue
            self._check_plain(path)
            if not path.is_dir():
                self._check_not_bag(path)
                yield name, str(path)
            elif not any(os.scandir(path)):
                self.empty.append(name)

    def _check_plain(self, path: Path) -> None:
        """Refuse a symbolic link in the path of a file: it may lead to files that nobody meant."""
        for part in (path, *path.parents):
            if part == self.root:
                return
            if part.is_symlink():
                raise FetchError(
                    "a symbolic link",
                    where=self.where,
                    expected="files and folders",
                    found=part,
                    fix="use the path that it leads to, or leave it out with 'exclude:'",
                )

    def _check_not_bag(self, path: Path) -> None:
        if path in {self.bag, *self.bag.parents} or self.bag in path.parents:
            fix = "keep the files in a separate folder"
            raise FetchError("it would copy the bag into itself", where=self.where, found=self.bag, fix=fix)


def _fixed_part(pattern: str) -> PurePosixPath:
    """Return the folders of a glob before the first part with a wildcard."""
    parts = PurePosixPath(pattern).parts
    first = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    return PurePosixPath(*parts[:first])


def _stat_regular(path: str, where: str) -> FileStat:
    try:
        found = os.lstat(path)
    except OSError as error:
        raise FetchError("can't read the file", where=path, found=error.strerror) from error
    if not S_ISREG(found.st_mode):
        kind = "a folder" if S_ISDIR(found.st_mode) else "a link or a device"
        fix = "leave it out with 'exclude:'"
        raise FetchError(f"{path} is {kind}", where=where, expected="a regular file", fix=fix)
    return FileStat.of(found)
