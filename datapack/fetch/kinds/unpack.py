"""Unpack archives that earlier sources fetched.

Every name is checked before the first file is written. What an archive holds never changes, so the hashes of its files
are remembered by its own: a killed run does not write them again.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datapack.catalog.patterns import Patterns, is_pattern
from datapack.errors import FetchError
from datapack.executor import run_all
from datapack.fetch.archives import open_archive
from datapack.fetch.context import SourceResult
from datapack.fetch.payload import WantedFile, payload_path
from datapack.files import TEMPORARY_PREFIX, FileStat, check_space, disk_errors, start_writeback, sync, sync_folder
from datapack.hashing import Checksum
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from datapack.catalog.sources import UnpackSource
    from datapack.executor import Advance
    from datapack.fetch.archives import Archive, Member
    from datapack.fetch.context import FetchContext

_BATCH_FILES = 64
_BATCH_BYTES = 32 << 20
_WORKERS = 4  # more than cores, because a worker waits for the disk while it syncs
_SHOWN = 5
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tar.zst", ".7z", ".rar")


def fetch_unpack(source: UnpackSource, context: FetchContext) -> SourceResult:
    """Unpack the archives; they leave the payload when all sources are fetched."""
    paths = _find_archives(source, context)
    for path in paths:
        where = source.label if path == source.unpack else f"{source.label}: {path}"
        with disk_errors(context.payload.folder), open_archive(context.payload.folder / path, where) as archive:
            _Unpacking(source, context, path, where).run(archive)
    return SourceResult(used=dict.fromkeys(paths, source.keep))


def _find_archives(source: UnpackSource, context: FetchContext) -> list[str]:
    payload = context.payload
    if payload.has(source.unpack):
        return [source.unpack]
    pattern = Patterns([source.unpack] if is_pattern(source.unpack) else [])
    paths = sorted(path for path in payload.hashes if pattern.match(path))
    if not paths:
        fix = "list the source that provides them before the one that unpacks them"
        raise FetchError("no such file in the payload", where=source.label, fix=fix)
    return paths


class _Written(NamedTuple):
    """A file that was unpacked under a temporary name."""

    temporary: Path
    target: Path
    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class _Unpacking:
    """The unpacking of one archive."""

    source: UnpackSource
    context: FetchContext
    path: str  # of the archive in the payload
    where: str

    def run(self, archive: Archive) -> None:
        payload = self.context.payload
        files, sizes = self._choose(archive)
        present = payload.claim(list(files.values()))
        payload.keep({file: stat for file, stat in present.items() if file.is_pinned})
        to_write = {name: file for name, file in files.items() if not payload.has(file.path)}
        total = sum(sizes[name] for name in to_write)
        check_space(payload.folder, total)
        if to_write:
            with self.context.reporter.progress(f"unpacking {self.path}", total, "B") as advance:
                self._write_all(archive, to_write, advance)
        self._note_nested(files)

    def _choose(self, archive: Archive) -> tuple[dict[str, WantedFile], dict[str, int]]:
        """Return the files to unpack and their sizes, by their names in the archive; every name is checked."""
        sizes: dict[str, int] = {}
        others: set[str] = set()
        for member in archive.members():
            if self._takes(member, others):
                if member.name in sizes:
                    raise FetchError("two files of the archive have one name", where=self.where, found=member.name)
                sizes[member.name] = member.size
        if not sizes:
            raise self._nothing(others)
        known = dict(self.context.payload.cache.find(self._owner, sizes))
        return {name: self._wanted(name, known[name].sha256 if name in known else "") for name in sizes}, sizes

    def _takes(self, member: Member, others: set[str]) -> bool:
        """Whether a member is to be unpacked; raise an error for one that can't be."""
        folder = self.source.folder
        if folder and not member.name.startswith(f"{folder}/"):
            others.add(member.name.partition("/")[0])
            return False
        if self.context.excluded.match(member.name):
            return False
        if member.kind != "a file":
            fix = "leave it out with 'exclude:', or pack the archive again without it"
            raise FetchError(f"{member.name} is {member.kind}", where=self.where, expected="a plain file", fix=fix)
        return True

    def _wanted(self, name: str, sha256: str) -> WantedFile:
        below = name.removeprefix(f"{self.source.folder}/") if self.source.folder else name
        return WantedFile(payload_path(self.source.into, below), self.where, checksum=Checksum("sha256", sha256))

    def _nothing(self, others: set[str]) -> FetchError:
        if self.source.folder and others:
            found = ", ".join(sorted(others)[:_SHOWN])
            return FetchError(f"the archive has no folder {self.source.folder}", where=self.where, found=found)
        what = "'exclude' leaves out every file" if self.source.exclude else "the archive holds no files"
        return FetchError(what, where=self.where)

    @property
    def _owner(self) -> str:
        return f"archive {self.context.payload.hashes[self.path]}"

    def _write_all(self, archive: Archive, to_write: Mapping[str, WantedFile], advance: Callable[[int], None]) -> None:
        """Write files: this thread unpacks and hashes them, others wait for the disk."""
        payload = self.context.payload
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=payload.folder) as folder:
            written = self._unpack(archive, to_write, Path(folder), advance)
            batches = run_all(_publish, _batches(written), workers=_WORKERS)
            for batch in batches:
                for file, stat in batch:
                    payload.add(to_write[file.member], file.sha256, stat)
                    payload.cache.record(self._owner, file.member, FileStat(stat.size, 0), file.sha256)
        for target in {(payload.folder / file.path).parent for file in to_write.values()}:
            sync_folder(target)

    def _unpack(
        self, archive: Archive, to_write: Mapping[str, WantedFile], folder: Path, advance: Callable[[int], None]
    ) -> Iterator[_Written]:
        for number, (member, blocks) in enumerate(archive.contents(to_write.keys())):
            temporary, digest = folder / str(number), hashlib.sha256()
            with temporary.open("xb") as file:
                for block in blocks:
                    digest.update(block)
                    file.write(block)
                    advance(len(block))
                file.flush()
                start_writeback(file.fileno(), 0, 0)
            target = self.context.payload.folder / to_write[member.name].path
            yield _Written(temporary, target, member.name, member.size, digest.hexdigest())

    def _note_nested(self, names: Iterable[str]) -> None:
        nested = sorted(name for name in names if name.lower().endswith(_ARCHIVES))
        if nested:
            inner = counted(len(nested), "archive")
            self.context.reporter.note(f"{self.where}: {inner} in it stays packed, such as {nested[0]}")


def _batches(written: Iterable[_Written]) -> Iterator[list[_Written]]:
    batch: list[_Written] = []
    total = 0
    for file in written:
        batch.append(file)
        total += file.size
        if len(batch) == _BATCH_FILES or total >= _BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _publish(batch: list[_Written], advance: Advance) -> list[tuple[_Written, FileStat]]:
    """Give files their final names once they are on disk."""
    published = []
    for file in batch:
        advance(0)
        with file.temporary.open("rb") as opened:
            sync(opened)
        file.target.parent.mkdir(parents=True, exist_ok=True)
        file.temporary.replace(file.target)
        published.append((file, FileStat.of(file.target.lstat())))
    return published
