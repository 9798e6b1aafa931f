"""The manifest: what every file of a dataset must be, and the check that it is.

The form is BagIt's ``manifest-sha256.txt`` (RFC 8493), which is also what ``sha256sum -c`` reads: a line per file, 64
hex digits, two spaces, the path below the bag's folder. Ours is stricter: lines sorted by the bytes of their paths, one
line feed after each, nothing else. So the same payload always has the same manifest, and its sha256, the *dataset
digest*, names the dataset.

Standard library only: the trainers bring this module into an image that has no other part of datapack.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

NAME = "manifest-sha256.txt"
PAYLOAD = "data"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")
_BUFFER = 1 << 20  # bytes a read: large enough that Python's own time does not count


def check_path(path: str, where: object = None) -> str:
    """Return ``path`` if it may stand in a manifest: relative, plain, and the same thing to every tool that reads it.

    Raises:
        ManifestError: for an absolute path, an empty, ``.`` or ``..`` part, a backslash, a control character, white
            space at the end, or bytes that are not UTF-8.
    """
    if _FORBIDDEN.search(path):
        reason = "a control character or a backslash"
    elif path.startswith("/"):
        reason = "a leading '/'"
    elif any(part in {"", ".", ".."} for part in path.split("/")):
        reason = "an empty, '.' or '..' part"
    elif path != path.rstrip():
        reason = "white space at its end"  # some readers of manifests strip it
    elif any("\ud800" <= letter <= "\udfff" for letter in path):
        reason = "bytes that are not UTF-8"
    else:
        return path
    raise ManifestError(f"the file name {path!a} can't be used", where=where, found=reason, fix="rename the file")


def sorted_by_bytes(paths: Iterable[str]) -> list[str]:
    """Sort paths as ``LC_ALL=C sort`` does, whatever the locale of this machine."""
    return sorted(paths, key=os.fsencode)


@dataclass(frozen=True)
class Manifest:
    """The sha256 (64 hex digits) of each file by its path below the bag's folder, sorted by the paths' bytes."""

    hashes: Mapping[str, str]

    @classmethod
    def of(cls, hashes: Mapping[str, str]) -> Manifest:
        """Make a manifest of hashes in any order; raise `ManifestError` for a path that can't stand in one."""
        return cls({check_path(path): hashes[path] for path in sorted_by_bytes(hashes)})

    @classmethod
    def parse(cls, content: bytes, where: object = NAME) -> Manifest:
        """Read a manifest's bytes; raise `ManifestError`, naming the line, for anything that is not its form."""
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            broken = content.count(b"\n", 0, error.start) + 1
            raise ManifestError("not UTF-8", where=f"{where}:{broken}") from error
        if not text.endswith("\n"):
            raise ManifestError(
                "the last line is cut off" if text else "the manifest is empty",
                where=where,
                fix="this copy is damaged: copy it again",
            )
        hashes: dict[str, str] = {}
        last = b""
        for number, line in enumerate(text[:-1].split("\n"), start=1):
            path, digest = _parse_line(line, f"{where}:{number}")
            encoded = path.encode()
            if encoded <= last:
                problem = "named twice" if path in hashes else "out of order"
                raise ManifestError(f"{path} is {problem}", where=f"{where}:{number}")
            hashes[path] = digest
            last = encoded
        return cls(hashes)

    @classmethod
    def read(cls, bag: Path) -> Manifest:
        """Read the manifest of the bag in folder ``bag``."""
        path = bag / NAME
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ManifestError(
                "can't read the manifest", where=path, found=error.strerror, fix="is this folder a bag?"
            ) from error
        return cls.parse(content, where=path)

    @cached_property
    def content(self) -> bytes:
        """The manifest file's bytes."""
        return "".join(f"{digest}  {path}\n" for path, digest in self.hashes.items()).encode()

    @cached_property
    def digest(self) -> str:
        """The dataset digest: ``sha256:`` and the hex sha256 of `content`."""
        return "sha256:" + hashlib.sha256(self.content).hexdigest()


def _parse_line(line: str, where: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if not match:
        raise ManifestError(
            "not a manifest line", where=where, expected="64 hex digits, two spaces and a path", found=f"{line[:100]!a}"
        )
    return check_path(match[2], where), match[1]


@dataclass(frozen=True)
class Difference:
    """How a folder differs from its manifest: three sorted lists of paths."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.changed)

    def __str__(self) -> str:
        parts = ((self.missing, "missing"), (self.extra, "extra"), (self.changed, "changed"))
        return ", ".join(f"{len(paths):,} {kind}" for paths, kind in parts if paths) or "no difference"

    def lines(self) -> tuple[str, ...]:
        """Give one line a file, all in one order: ``missing``, ``extra``, ``changed``, each sorted."""
        return (
            *(f"missing  {path}" for path in self.missing),
            *(f"extra    {path}" for path in self.extra),
            *(f"changed  {path}" for path in self.changed),
        )


class FileStat(NamedTuple):
    """What a look at a file tells: its size in bytes, and its modification time in ns since 1970."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileStat:
        return cls(stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class Listing:
    """What stands below a bag's payload folder: the regular files, and the paths of what is no regular file."""

    files: Mapping[str, FileStat]
    irregular: frozenset[str]


def list_payload(bag: Path) -> Listing:
    """List every file below ``bag/data`` by its path below ``bag``; links and devices are listed as irregular."""
    files: dict[str, FileStat] = {}
    irregular: set[str] = set()
    for entry in _walk(bag / PAYLOAD):
        path = os.path.relpath(entry.path, bag)
        if entry.is_file(follow_symlinks=False):
            files[path] = FileStat.of(entry.stat(follow_symlinks=False))
        else:
            irregular.add(path)
    return Listing(files, frozenset(irregular))


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    pending = [str(folder)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            else:
                yield entry


def compare_names(manifest: Manifest, listing: Listing) -> Difference:
    """Compare names alone: no byte of a file is read."""
    present = listing.files.keys() | listing.irregular
    return Difference(
        missing=tuple(path for path in manifest.hashes if path not in present),
        extra=tuple(sorted_by_bytes(present - manifest.hashes.keys())),
        changed=tuple(path for path in manifest.hashes if path in listing.irregular),
    )


def compare_bytes(
    manifest: Manifest, bag: Path, *, workers: int | None = None, advance: Callable[[int], None] = lambda _: None
) -> Difference:
    """Compare every file below ``bag/data`` with the manifest, name and byte, on all cores.

    Args:
        manifest: what should be there.
        bag: the folder that holds ``data/``.
        workers: threads that hash; by default one a core that this process may use.
        advance: called with the number of bytes that were hashed since its last call.

    Raises:
        OSError: a file that is there can't be read.
    """
    listing = list_payload(bag)
    names = compare_names(manifest, listing)
    found = dict(hash_files(bag, (p for p in manifest.hashes if p in listing.files), workers=workers, advance=advance))
    changed = (path for path, digest in found.items() if digest != manifest.hashes[path])
    return Difference(names.missing, names.extra, tuple(sorted_by_bytes({*names.changed, *changed})))


def hash_files(
    root: Path,
    paths: Iterable[str],
    *,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[str, str]]:
    """Hash files below ``root`` in parallel; yield each path with its sha256, in the order of ``paths``."""

    def hash_batch(batch: list[str]) -> list[tuple[str, str]]:
        buffer = new_buffer()
        return [(path, hash_file(root / path, buffer=buffer, advance=advance)) for path in batch]

    remaining = iter(paths)
    batches = iter(lambda: list(islice(remaining, 16)), [])
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        for hashed in pool.map(hash_batch, batches):
            yield from hashed


def hash_file(path: Path, *, buffer: memoryview | None = None, advance: Callable[[int], None] = lambda _: None) -> str:
    """Return the sha256 of a regular file as 64 hex digits. A link is not followed: it raises `OSError`."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0, opener=open_regular) as file:
        for block in read_blocks(file.readinto, buffer or new_buffer()):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def new_buffer() -> memoryview:
    """Make the 1 MiB that `read_blocks` reads into; a thread makes one and uses it for file after file."""
    return memoryview(bytearray(_BUFFER))


def read_blocks(readinto: Callable[[memoryview], int | None], buffer: memoryview) -> Iterator[memoryview]:
    """Read to the end, a block at a time. Every block is a view of ``buffer``: use it before the next is asked for."""
    while count := readinto(buffer):
        yield buffer[:count]


def open_regular(path: str, flags: int) -> int:
    """Open a regular file, for ``open(opener=...)``; a link or a device raises `OSError` before a byte is read."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"not a regular file: {path}")
    return descriptor
