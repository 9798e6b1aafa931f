"""The listing of a bag: everything below its payload folder, found in one walk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.files import FileStat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Listing:
    """Everything below a bag's payload folder, by path below the bag."""

    files: Mapping[str, FileStat]
    irregular: frozenset[str] = frozenset()  # links, devices and everything else that is neither a file nor a folder
    folders: frozenset[str] = frozenset()

    @cached_property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files.values())


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def list_payload(bag: Path) -> Listing:
    """List everything below ``bag/data``. Links are not followed; a missing folder counts as empty.

    If ``data`` itself is a link or a file, it is the only entry.
    """
    if os.path.lexists(bag / PAYLOAD) and not is_folder(bag / PAYLOAD):
        return Listing({}, frozenset({PAYLOAD}))
    files: dict[str, FileStat] = {}
    irregular: set[str] = set()
    folders: set[str] = set()
    pending = [PAYLOAD]
    while pending:
        folder = pending.pop()
        try:
            entries = os.scandir(bag / folder)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:  # never a list of them: an entry takes as much memory as all else of a file
                path = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.add(path)
                    pending.append(path)
                elif entry.is_file(follow_symlinks=False):
                    files[path] = FileStat.of(entry.stat(follow_symlinks=False))
                else:
                    irregular.add(path)
    return Listing(files, frozenset(irregular), frozenset(folders))
