"""The files of an image as an engine has them: its layers, unpacked one on top of another.

Only names, kinds and links are kept. The rules are those of containerd and Docker: a name is below the root however it
is written; folders on its way may be links; what is there is replaced, unless both are folders; a whiteout removes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.oci.tar import TarError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datapack.oci.tar import TarReader

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_METADATA = ".wh..wh."  # of AUFS
MOST_ENTRIES = 1_000_000  # in one layer, and in all together: a bomb has hardly any bytes for each
_MOST_LINKS = 255  # on the way to one file
File = None
Folder = dict[str, "Node"]
Node = Folder | str | None  # a folder by its names, a symbolic link's target, or anything else


def list_entries(archive: TarReader) -> list[tuple[str, str, str]]:
    """List what is in a layer, for `Filesystem.apply`; raise `TarError` if it is broken or has too many entries."""
    found: list[tuple[str, str, str]] = []
    for entry in archive:
        if len(found) == MOST_ENTRIES:
            raise TarError(f"more than {MOST_ENTRIES:,} entries")
        found.append((entry.name, entry.kind, entry.link))
    return found


class Filesystem:
    """A file system, in memory."""

    def __init__(self) -> None:
        self.root: Folder = {}
        self._count = 0

    def apply(self, entries: Iterable[tuple[str, str, str]]) -> None:
        """Unpack a layer.

        Args:
            entries: of each entry, its name, its kind as of `Entry.kind`, and its link.

        Raises:
            TarError: no engine can unpack it, or engines do it differently.
        """
        new = _New()
        for name, kind, link in entries:
            self._count += 1
            if self._count > MOST_ENTRIES:
                raise TarError(f"more than {MOST_ENTRIES:,} entries")
            *parents, last = _parts(name) or ("",)
            if not last or (last.startswith(_METADATA) and last != _OPAQUE):
                continue
            folder = self._enter(parents, make=True)
            if last == _OPAQUE:
                _empty(folder, new)
            elif last.startswith(_WHITEOUT):
                folder.pop(_removed(last), None)
            else:
                self._put(folder, last, kind, link)
                new.add(folder, last)

    def _put(self, folder: Folder, name: str, kind: str, link: str) -> None:
        if kind == "a folder":
            if not isinstance(folder.get(name), dict):
                folder[name] = {}
        elif kind == "a symbolic link":
            folder[name] = link
        elif kind == "a hard link":
            *parents, last = _parts(link) or ("",)
            target = self._enter(parents, make=False)
            if last not in target or isinstance(target[last], dict):
                raise TarError(f"{name!a} is a hard link to what is not there")
            folder[name] = target[last]
        else:
            folder[name] = File

    def find(self, path: str) -> Node:
        """Return what is at a path; an empty folder where there is nothing. No link is followed.

        Raises:
            TarError: a folder on the way is something else.
        """
        node: Node = self.root
        for part in _parts(path):
            if not isinstance(node, dict):
                raise TarError(f"what should be a folder above {path} is {describe(node)}")
            node = node.get(part, {})
        return node

    def _enter(self, parents: list[str], *, make: bool) -> Folder:
        """Return a folder, following links on the way as if the image's root were the only one."""
        pending, way, links = parents[::-1], [self.root], 0
        while pending:
            part = pending.pop()
            if part == "..":
                way = way[:-1] or [self.root]
                continue
            if part not in way[-1] and make:
                way[-1][part] = {}
            node = way[-1].get(part)
            if isinstance(node, dict):
                way.append(node)
            elif isinstance(node, str) and links < _MOST_LINKS:
                links += 1
                way = [self.root] if node.startswith("/") else way
                pending += [step for step in node.split("/")[::-1] if step not in {"", "."}]
            else:
                found = describe(node) if part in way[-1] else "not there"
                raise TarError(f"what should be a folder, {part!a}, is {found}")
        return way[-1]


class _New:
    """What this layer has unpacked so far: its own whiteout of a folder's content does not remove it."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Folder, set[str]]] = {}  # with the folder, so that no other gets its number

    def add(self, folder: Folder, name: str) -> None:
        self._names.setdefault(id(folder), (folder, set()))[1].add(name)

    def names(self, folder: Folder) -> set[str]:
        return self._names.get(id(folder), (folder, set()))[1]


def describe(node: Node) -> str:
    """Say what something in a file system is."""
    return "a folder" if isinstance(node, dict) else f"a link to {node!a}" if isinstance(node, str) else "a file"


def _parts(name: str) -> list[str]:
    """Split a name as an engine does."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise TarError(f"the name {name!a} has a '..' part")
    return parts


def _removed(name: str) -> str:
    """Return the name that a whiteout removes."""
    removed = name.removeprefix(_WHITEOUT)
    if removed in {"", ".", ".."}:
        raise TarError(f"the whiteout {name!a} removes a folder above it")
    return removed


def _empty(folder: Folder, new: _New) -> None:
    """Remove what lower layers have in a folder."""
    pending = [folder]
    while pending:
        inside = pending.pop()
        for name in inside.keys() - new.names(inside):
            del inside[name]
        pending += [node for node in inside.values() if isinstance(node, dict)]
