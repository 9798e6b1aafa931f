"""Fetch files from the catalog's folder."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import FetchError
from datapack.executor import run_all
from datapack.fetch.context import SourceResult
from datapack.fetch.payload import WantedFile, payload_path
from datapack.files import FileStat, check_space, disk_errors, sync, sync_folder, temporary_file
from datapack.hashing import new_buffer, open_regular, read_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datapack.catalog.sources import LocalSource
    from datapack.executor import Advance
    from datapack.fetch.context import FetchContext
    from datapack.fetch.payload import Payload

_WORKERS = 4  # more than cores, because a worker waits for the disk while it syncs
_MAGIC = re.compile(r"[*?[]")


def fetch_local(source: LocalSource, context: FetchContext) -> SourceResult:
    """Copy the files. A file with the size and modification time of its source is not copied again."""
    where, root, payload = f"local {source.local}", context.catalog_folder, context.payload
    with disk_errors(root / source.local):
        found = {
            WantedFile(payload_path(source.into, name), where): path
            for name, path in _find(source.local, root, payload.bag)
        }
        stats = {file: FileStat.of(_regular(path, where)) for file, path in found.items()}
    if not found:
        raise FetchError("no such file", where=where, fix=f"it must be below {root}")
    present = payload.claim(list(found))
    payload.keep({file: stat for file, stat in present.items() if stat == stats[file]})
    to_copy = {file: path for file, path in found.items() if not payload.has(file.path)}
    total = sum(stats[file].size for file in to_copy)
    with disk_errors(payload.folder):
        check_space(payload.folder, total)
    with context.reporter.progress(f"copying {source.local}", total, "B") as advance:
        _copy_all(payload, to_copy, advance)
    return SourceResult()


def _find(local: str, root: Path, bag: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files: the name below `into`, and the path."""
    top, where = root / local, f"local {local}"
    if not os.path.lexists(top) and _MAGIC.search(local):
        yield from _find_glob(local, root, bag)
        return
    _check_plain(root, top, where)
    _check_not_bag(bag, top, where)
    if not top.is_dir():
        yield top.name, top
        return
    for path in _walk(top):
        yield path.relative_to(top).as_posix(), path


def _find_glob(local: str, root: Path, bag: Path) -> Iterator[tuple[str, Path]]:
    where, fixed = f"local {local}", _fixed_part(local)
    _check_plain(root, root / fixed, where)
    for match in sorted(glob.glob(local, root_dir=root, recursive=True)):  # noqa: PTH207 - Path.glob takes hidden files
        _check_plain(root, root / match, where)
        if not (root / match).is_dir():
            _check_not_bag(bag, root / match, where)
            yield str(PurePosixPath(match).relative_to(fixed)), root / match


def _fixed_part(pattern: str) -> PurePosixPath:
    """Return the folders of a glob before the first part with a wildcard."""
    parts = PurePosixPath(pattern).parts
    first = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    return PurePosixPath(*parts[:first])


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


def _check_plain(root: Path, path: Path, where: str) -> None:
    """Refuse a symbolic link in the path of a file: it may lead out of the catalog's folder."""
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise FetchError(
                "a symbolic link",
                where=where,
                expected="files and folders",
                found=part,
                fix="use the path that it leads to",
            )


def _check_not_bag(bag: Path, path: Path, where: str) -> None:
    if path in {bag, *bag.parents} or bag in path.parents:
        fix = "keep the files in a separate folder"
        raise FetchError("it would copy the bag into itself", where=where, found=bag, fix=fix)


def _regular(path: Path, where: str) -> os.stat_result:
    found = path.lstat()
    if not S_ISREG(found.st_mode):
        kind = "a folder" if S_ISDIR(found.st_mode) else "a link or a device"
        raise FetchError(f"{path} is {kind}", where=where, expected="a regular file")
    return found


class _Copy(NamedTuple):
    """A file to copy."""

    file: WantedFile
    source: Path
    target: Path


def _copy_all(payload: Payload, files: dict[WantedFile, Path], advance: Callable[[int], None]) -> None:
    copies = [_Copy(file, path, payload.folder / file.path) for file, path in files.items()]
    copied = run_all(_copy, copies, workers=_WORKERS, advance=advance)
    for copy, (sha256, stat) in zip(copies, copied, strict=True):
        payload.add(copy.file, sha256, stat)
    with disk_errors(payload.folder):
        for folder in {copy.target.parent for copy in copies}:
            sync_folder(folder)


def _copy(copy: _Copy, advance: Advance) -> tuple[str, FileStat]:
    """Copy a file with its modification time; return the sha256 of the copied bytes, and the copy's size and time."""
    digest = hashlib.sha256()
    with disk_errors(copy.target), temporary_file(copy.target.parent) as (file, temporary):
        with open(copy.source, "rb", buffering=0, opener=open_regular) as opened:
            before = os.fstat(opened.fileno())
            for block in read_blocks(opened.readinto, new_buffer()):
                digest.update(block)
                file.write(block)
                advance(len(block))
            if FileStat.of(os.fstat(opened.fileno())) != FileStat.of(before) or file.tell() != before.st_size:
                raise FetchError(
                    "the file changed during the copy", where=copy.source, fix="run the same command again"
                )
        file.flush()
        os.utime(file.fileno(), ns=(before.st_mtime_ns, before.st_mtime_ns))
        sync(file)
        temporary.replace(copy.target)
        return digest.hexdigest(), FileStat.of(copy.target.stat())
