"""Files of any kind: by type and size, the largest, those with the same content, and the folders they are in."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from markupsafe import Markup

from datapack.bag.manifest import PAYLOAD
from datapack.page.cells import Amount, Listing, bytes_of, code, name, share
from datapack.text import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from datapack.bag.bagit import PayloadFile

MOST_TYPES, MOST_LARGEST, MOST_GROUPS, MOST_COPIES = 30, 10, 10, 3
MOST_FOLDERS, MOST_IN_FOLDER = 300, 40
_NO_TYPE = "no extension"


def below_payload(path: str) -> str:
    """Return a path without ``data/``, as the rest of the page shows it."""
    return path.removeprefix(f"{PAYLOAD}/")


def types(files: Sequence[PayloadFile]) -> Listing:
    """Return the table of types of files, by extension."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in files:
        kind = PurePosixPath(file.path).suffix.lower() or _NO_TYPE
        counts[kind] += 1
        sizes[kind] += file.size
    whole = sum(sizes.values())
    ordered = sorted(counts, key=lambda kind: (-sizes[kind], -counts[kind], kind))
    rows = [
        (name(kind, 40), counts[kind], bytes_of(sizes[kind]), Amount(share(sizes[kind], whole), sizes[kind]))
        for kind in ordered[:MOST_TYPES]
    ]
    left = len(ordered) - len(rows)
    more = f"And {counted(left, 'more type')}." if left > 0 else ""
    return Listing("Files by type", ("Type", "Files", "Size", "of all"), rows, more)


def largest(files: Sequence[PayloadFile]) -> Listing:
    """Return the table of the largest files."""
    ordered = sorted(files, key=lambda file: (-file.size, file.path))[:MOST_LARGEST]
    rows = [(code(file.path), bytes_of(file.size)) for file in ordered]
    return Listing("The largest files", ("File", "Size"), rows)


@dataclass(frozen=True)
class Duplicates:
    """Files with the same content."""

    summary: str
    listing: Listing


def duplicates(files: Sequence[PayloadFile]) -> Duplicates:
    """Find files with the same content, by their sha256; empty files are all alike and don't count."""
    same: defaultdict[str, list[PayloadFile]] = defaultdict(list)
    for file in files:
        if file.size:
            same[file.sha256].append(file)
    groups = sorted(
        (group for group in same.values() if len(group) > 1),
        key=lambda group: (-(len(group) - 1) * group[0].size, group[0].path),
    )
    extra = sum(len(group) - 1 for group in groups)
    wasted = sum((len(group) - 1) * group[0].size for group in groups)
    rows = [
        (_copies(group), len(group), bytes_of(group[0].size), bytes_of((len(group) - 1) * group[0].size))
        for group in groups[:MOST_GROUPS]
    ]
    left = len(groups) - len(rows)
    more = f"And {counted(left, 'more group')}." if left > 0 else ""
    summary = (
        f"{counted(extra, 'file')} {'is a copy' if extra == 1 else 'are copies'} of another, {size(wasted)} in all."
        if groups
        else "No two files have the same content."
    )
    listing = Listing("Files with the same content", ("Files", "Number", "Size of each", "Repeated"), rows, more)
    return Duplicates(summary, listing)


def _copies(group: Sequence[PayloadFile]) -> Markup:
    shown = [code(file.path, 90) for file in group[:MOST_COPIES]]
    left = len(group) - len(shown)
    return Markup(", ").join([*shown, f"and {left:,} more"] if left else shown)


@dataclass
class Folder:
    """A folder: what is in it and below it."""

    name: str
    files: int = 0  # in it
    all_files: int = 0  # in it and below it
    bytes: int = 0
    folders: dict[str, Folder] = field(default_factory=dict)
    shown: list[Folder] = field(default_factory=list)  # the largest of them
    left_out: int = 0

    @property
    def summary(self) -> str:
        return f"{counted(self.all_files, 'file')}, {size(self.bytes)}"


def tree(files: Iterable[PayloadFile]) -> Folder:
    """Return the tree of folders, with as many of the largest ones to show as a page can hold."""
    top = Folder("data")
    for file in files:
        folder = top
        folder.all_files, folder.bytes = folder.all_files + 1, folder.bytes + file.size
        for part in file.path.split("/")[:-1]:
            if part not in folder.folders:
                folder.folders[part] = Folder(part)
            folder = folder.folders[part]
            folder.all_files, folder.bytes = folder.all_files + 1, folder.bytes + file.size
        folder.files += 1
    _choose(top)
    return top


def _choose(top: Folder) -> None:
    """Choose the folders to show: level by level, the largest of each folder, until there are enough."""
    level, room = [top], MOST_FOLDERS
    while level:
        for folder in level:
            ordered = sorted(folder.folders.values(), key=lambda one: (-one.bytes, -one.all_files, one.name))
            folder.shown = sorted(ordered[: min(MOST_IN_FOLDER, room)], key=lambda one: one.name)
            folder.left_out = len(ordered) - len(folder.shown)
            room -= len(folder.shown)
        level = [one for folder in level for one in folder.shown]
