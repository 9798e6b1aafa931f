"""How much disk space files take, and how much their removal frees."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.bag.listing import is_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """Files, their bytes, and the bytes that their removal frees: a file may have other names."""

    files: int = 0
    bytes: int = 0
    freed: int = 0


def measure(paths: Iterable[Path]) -> Usage:
    """Measure files and everything in folders. A file with several names among them counts once in ``freed``.

    Blocks that files share (reflinks) are not known: then less space is freed.
    """
    files = total = freed = 0
    linked: dict[tuple[int, int], int] = {}  # how many more names a file has
    for stat in _stats(paths):
        files, total = files + 1, total + stat.st_size
        left = linked.pop((stat.st_dev, stat.st_ino), stat.st_nlink) - 1
        if left > 0:
            linked[stat.st_dev, stat.st_ino] = left
        else:
            freed += stat.st_size
    return Usage(files, total, freed)


def _stats(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        if is_folder(path):
            for folder, _, names in os.walk(path):
                for name in names:
                    yield os.lstat(f"{folder}/{name}")
        elif os.path.lexists(path):
            yield path.lstat()


def existing(path: Path) -> Path:
    """Return the nearest folder at or above a path that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def free_bytes(path: Path) -> int:
    """Return the free space of the disk that a path is on, or will be on."""
    return shutil.disk_usage(existing(path)).free


def is_on_same_disk(path: Path, other: Path) -> bool:
    """Whether two paths, which need not exist, are on one disk, so that files can be linked."""
    return existing(path).stat().st_dev == existing(other).stat().st_dev
