"""Fetch files from the catalog's folder."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import FetchError
from datapack.executor import run_all
from datapack.fetch.context import SourceResult
from datapack.fetch.payload import WantedFile, payload_path
from datapack.files import FileStat, check_space, disk_errors, start_writeback, sync, sync_folder, temporary_file
from datapack.hashing import new_buffer, read_blocks, regular_opener
from datapack.text import counted

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from datapack.catalog.patterns import Patterns
    from datapack.catalog.sources import LocalSource
    from datapack.executor import Advance
    from datapack.fetch.context import FetchContext
    from datapack.fetch.payload import Payload

_BATCH_FILES = 64
_BATCH_BYTES = 32 << 20
_WORKERS = 4  # more than cores, because a worker waits for the disk while it syncs
_MAGIC = re.compile(r"[*?[]")


def fetch_local(source: LocalSource, context: FetchContext) -> SourceResult:
    """Copy the files. A file with the size and modification time of its source is not copied again."""
    payload, empty = context.payload, list[str]()
    files = [
        _LocalFile(WantedFile(payload_path(source.into, name), source.label), path, _stat_regular(path, source.label))
        for name, path in find_local(source, context, empty)
    ]
    if not files and context.excluded.unused.issuperset(source.exclude):
        raise _nothing(source, empty, context)
    _note_empty(source, empty, context)
    present = payload.claim([file.wanted for file in files])
    payload.keep({file.wanted: file.stat for file in files if present.get(file.wanted) == file.stat})
    to_copy = [file for file in files if not payload.has(file.wanted.path)]
    total = sum(file.stat.size for file in to_copy)
    with disk_errors(payload.folder):
        check_space(payload.folder, total)
    with context.reporter.progress(f"copying {source.local}", total, "B") as advance:
        _copy_all(payload, to_copy, advance)
    return SourceResult()


class _LocalFile(NamedTuple):
    """A file that the source names: its path on disk, and its size and time there."""

    wanted: WantedFile
    path: str
    stat: FileStat


def _nothing(source: LocalSource, empty: list[str], context: FetchContext) -> FetchError:
    """Return the error for a source that has no file, though it excludes none."""
    path = context.catalog_folder / source.local
    if not path.is_dir():
        return FetchError("no such file", where=source.label, fix=f"it must be below {context.catalog_folder}")
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
    """Yield the files that the source does not exclude: the name below `into`, and the path.

    Args:
        source: the source.
        context: where the catalog and the bag are, and what is excluded.
        empty: gets the names of folders that have no entry.

    Raises:
        FetchError: there is a link on the way, a folder can't be read, or the bag would be copied into itself.
    """
    walk = _Walk(
        source.label, context.catalog_folder, context.payload.bag, context.excluded, [] if empty is None else empty
    )
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
        top = self.root / local
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
        self._check_plain(self.root / fixed)
        for match in sorted(glob.glob(local, root_dir=self.root, recursive=True)):  # noqa: PTH207 - Path.glob takes hidden files
            name, path = str(PurePosixPath(match).relative_to(fixed)), self.root / match
            if self.excluded.match(name):
                continue
            self._check_plain(path)
            if not path.is_dir():
                self._check_not_bag(path)
                yield name, str(path)
            elif not any(os.scandir(path)):
                self.empty.append(name)

    def _check_plain(self, path: Path) -> None:
        """Refuse a symbolic link in the path of a file: it may lead out of the catalog's folder."""
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


class _Copy(NamedTuple):
    """A file to copy."""

    source: str
    target: Path


def _copy_all(payload: Payload, files: list[_LocalFile], advance: Callable[[int], None]) -> None:
    copied = run_all(_copy_batch, _batches(payload.folder, files), workers=_WORKERS, advance=advance)
    for file, (sha256, stat) in zip(files, chain.from_iterable(copied), strict=True):
        payload.add(file.wanted, sha256, stat)
    with disk_errors(payload.folder):
        for folder in {file.wanted.path.rpartition("/")[0] for file in files}:
            sync_folder(payload.folder / folder)


def _batches(folder: Path, files: Iterable[_LocalFile]) -> Iterator[list[_Copy]]:
    """Yield units of work: many small files, or few large ones."""
    batch, total = [], 0
    for file in files:
        batch.append(_Copy(file.path, folder / file.wanted.path))
        total += file.stat.size
        if len(batch) == _BATCH_FILES or total >= _BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _copy_batch(batch: list[_Copy], advance: Advance) -> list[tuple[str, FileStat]]:
    """Copy files with their modification times; return the sha256 of the bytes, and the copies' sizes and times.

    The files are on disk before they get their names. They are synced together: most disks then write one journal entry
    for all of them.
    """
    buffer = new_buffer()
    with contextlib.ExitStack() as stack:
        written = []
        for copy in batch:
            with disk_errors(copy.target):
                file, temporary = stack.enter_context(temporary_file(copy.target.parent))
                written.append((file, temporary, _write(copy, file, buffer, advance)))
                start_writeback(file.fileno(), 0, 0)
        copied = []
        for copy, (file, temporary, sha256) in zip(batch, written, strict=True):
            with disk_errors(copy.target):
                sync(file)
                temporary.replace(copy.target)
                copied.append((sha256, FileStat.of(os.fstat(file.fileno()))))
        return copied


def _write(copy: _Copy, file: BinaryIO, buffer: memoryview, advance: Advance) -> str:
    """Write a source's bytes to a file, which gets its modification time too; return the sha256 of the bytes."""
    digest = hashlib.sha256()
    with _open_source(copy.source) as opened:
        before = os.fstat(opened.fileno())
        for block in read_blocks(opened.readinto, buffer):
            digest.update(block)
            file.write(block)
            advance(len(block))
        if FileStat.of(os.fstat(opened.fileno())) != FileStat.of(before) or file.tell() != before.st_size:
            raise FetchError("the file changed during the copy", where=copy.source, fix="run the same command again")
    file.flush()
    os.utime(file.fileno(), ns=(before.st_mtime_ns, before.st_mtime_ns))
    return digest.hexdigest()


def _open_source(path: str) -> io.FileIO:
    try:
        return open(path, "rb", buffering=0, opener=regular_opener)  # Path.open has no opener
    except OSError as error:
        fix = "check its permissions, or leave it out with 'exclude:'"
        raise FetchError("can't read the file", where=path, found=error.strerror or error, fix=fix) from error
