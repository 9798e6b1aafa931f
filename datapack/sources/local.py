"""Files that lie beside the catalog."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from datapack.disk import check_space, disk_errors
from datapack.errors import FetchError
from datapack.files import sync, sync_folder, temporary_file
from datapack.manifest import FileStat, new_buffer, open_regular, read_blocks
from datapack.payload import Wanted
from datapack.sources.source import PayloadFolder, Source, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datapack.payload import Payload

_WORKERS = 4  # more than cores, since a worker waits for the disk while it syncs
_MAGIC = re.compile(r"[*?[]")


def _inside(path: str) -> str:
    plain = PurePosixPath(path)
    if plain.is_absolute() or ".." in plain.parts or plain == PurePosixPath():
        raise ValueError("not a path below the catalog's folder")
    return str(plain)


class LocalSource(Source):
    """A file, a folder or a glob, named from the catalog's folder.

    A file goes into `into`; of a folder, what it holds; of a glob, what it matches by the path below the glob's fixed
    part. A folder brings hidden files too; a glob brings them, as in a shell, only where it names the dot.
    """

    local: Annotated[str, AfterValidator(_inside)] = Field(
        description="a file, a folder or a glob, relative to the folder of datasets.yml"
    )
    into: PayloadFolder = Field(
        "", description="the payload folder that the files go into; the payload's top by default"
    )

    def fetch(self, payload: Payload) -> None:
        """Copy the files. A file that has the size and modification time that its source has is not copied again."""
        where = f"local {self.local}"
        with disk_errors(payload.catalog_folder / self.local):
            found = {Wanted(join(self.into, name), where): path for name, path in self._find(payload)}
            stats = {file: FileStat.of(_regular(path, where)) for file, path in found.items()}
        if not found:
            raise FetchError("no file is there", where=where, fix=f"it is looked up in {payload.catalog_folder}")
        standing = payload.plan(list(found))
        payload.keep({file: stat for file, stat in standing.items() if stat == stats[file]})
        to_copy = {file: path for file, path in found.items() if not payload.has(file)}
        total = sum(stats[file].size for file in to_copy)
        with disk_errors(payload.folder):
            check_space(payload.folder, total)
        with payload.reporter.progress(f"copying {self.local}", total, "B") as advance:
            _copy_all(payload, to_copy, advance)

    def _find(self, payload: Payload) -> Iterator[tuple[str, Path]]:
        """Find the files: each one's name below `into`, and its path."""
        root = payload.catalog_folder
        top = root / self.local
        where = f"local {self.local}"
        if not os.path.lexists(top) and _MAGIC.search(self.local):
            fixed = _fixed_part(self.local)
            _check_plain(root, root / fixed, where)
            matches = glob.glob(self.local, root_dir=root, recursive=True)  # noqa: PTH207 - Path.glob takes hidden files
            for match in sorted(matches):
                _check_plain(root, root / match, where)
                if not (root / match).is_dir():
                    _check_not_bag(payload, root / match, where)
                    yield str(PurePosixPath(match).relative_to(fixed)), root / match
            return
        _check_plain(root, top, where)
        _check_not_bag(payload, top, where)
        if not top.is_dir():
            yield top.name, top
            return
        for path in _walk(top):
            yield path.relative_to(top).as_posix(), path


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
    """Refuse a link on the way to a file: it may lead out of the catalog's folder."""
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise FetchError(
                "a symbolic link", where=where, expected="files and folders", found=part, fix="name what it leads to"
            )


def _check_not_bag(payload: Payload, path: Path, where: str) -> None:
    if path in {payload.bag, *payload.bag.parents} or payload.bag in path.parents:
        fix = "keep the files in a folder of their own"
        raise FetchError("it would bring the bag itself into the bag", where=where, found=payload.bag, fix=fix)


def _regular(path: Path, where: str) -> os.stat_result:
    found = path.lstat()
    if not S_ISREG(found.st_mode):
        kind = "a folder" if S_ISDIR(found.st_mode) else "a link or a device"
        raise FetchError(f"{path} is {kind}", where=where, expected="a regular file")
    return found


def _copy_all(payload: Payload, files: dict[Wanted, Path], advance: Callable[[int], None]) -> None:
    stopped = threading.Event()

    def copied(count: int) -> None:
        if stopped.is_set():
            raise CancelledError
        advance(count)

    def copy(file: Wanted) -> tuple[Wanted, str, FileStat]:
        return file, *_copy(files[file], payload.folder / file.path, copied)

    with ThreadPoolExecutor(_WORKERS) as pool:
        copies = [pool.submit(copy, file) for file in files]
        try:
            for future in copies:
                payload.add(*future.result())
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    folders = {(payload.folder / file.path).parent for file in files}
    with disk_errors(payload.folder):
        for folder in folders:
            sync_folder(folder)


def _copy(source: Path, target: Path, advance: Callable[[int], None]) -> tuple[str, FileStat]:
    """Copy a file with its modification time; return the sha256 of what was copied, and the copy's look."""
    digest = hashlib.sha256()
    with disk_errors(target), temporary_file(target.parent) as (file, temporary):
        with open(source, "rb", buffering=0, opener=open_regular) as opened:
            before = os.fstat(opened.fileno())
            for block in read_blocks(opened.readinto, new_buffer()):
                digest.update(block)
                file.write(block)
                advance(len(block))
            if FileStat.of(os.fstat(opened.fileno())) != FileStat.of(before) or file.tell() != before.st_size:
                raise FetchError("the file changed while it was copied", where=source, fix="run the same command again")
        file.flush()
        os.utime(file.fileno(), ns=(before.st_mtime_ns, before.st_mtime_ns))
        sync(file)
        temporary.replace(target)
        return digest.hexdigest(), FileStat.of(target.stat())
