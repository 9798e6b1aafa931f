"""The files of an image as an engine has them: its layers, unpacked one on top of another.

Only names, kinds and links are kept. The rules are those of containerd and Docker: a name is below the root however it
is written; folders on its way may be links; what is there is replaced, unless both are folders; a whiteout removes.

Some engines unpack a layer onto those below it, others into a folder of its own, which overlayfs puts on top of them.
What comes out differently is an error: a whiteout of what its own layer has, and a link that is of a lower layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def remove_lower(files: dict[str, Any], name: str) -> bool:
    """Apply a whiteout to files of lower layers by their paths; return whether the entry of this name is one.

    For readers that look for a few files and trust the layers: `Filesystem.apply` has all the rules.
    """
    folder, slash, last = name.rpartition("/")
    if not last.startswith(_WHITEOUT):
        return False
    start = f"{folder}{slash}"
    gone = start if last == _OPAQUE else f"{start}{last.removeprefix(_WHITEOUT)}/"
    for path in [path for path in files if f"{path}/".startswith(gone) and f"{path}/" != start]:
        del files[path]
    return True


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
            folder = self._enter(parents, new, make=True)
            if last == _OPAQUE:
                _empty(folder, new)
            elif last.startswith(_WHITEOUT):
                _remove(folder, _removed(last), new)
            else:
                self._put(folder, last, kind, link, new)
                new.add(folder, last)

    def _put(self, folder: Folder, name: str, kind: str, link: str, new: _New) -> None:
        if kind == "a folder":
            if not isinstance(folder.get(name), dict):
                folder[name] = {}
        elif kind == "a symbolic link":
            folder[name] = link
        elif kind == "a hard link":
            *parents, last = _parts(link) or ("",)
            target = self._enter(parents, new, make=False)
            if not new.has(target, last) or isinstance(target[last], dict):
                raise TarError(f"{name!a} is a hard link to what its layer does not have")
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

    def _enter(self, parents: list[str], new: _New, *, make: bool) -> Folder:
        """Return a folder, following the layer's own links on the way as if the image's root were the only one."""
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
                if make and not new.has(way[-1], part):
                    new.pass_through(way)
                way.append(node)
            elif isinstance(node, str) and not new.has(way[-1], part):
                raise TarError(f"the folder {part!a} is a link of a lower layer, which engines follow or replace")
            elif isinstance(node, str) and links < _MOST_LINKS:
                links += 1
                way = [self.root] if node.startswith("/") else way
                pending += [step for step in node.split("/")[::-1] if step not in {"", "."}]
            else:
                found = describe(node) if part in way[-1] else "not there"
                raise TarError(f"what should be a folder, {part!a}, is {found}")
        return way[-1]


class _New:
    """What this layer has unpacked so far, by the folders that have entries of it, and those that only lead to some."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Folder, set[str]]] = {}  # with the folder, so that no other gets its number
        self._passed: dict[int, Folder] = {}  # folders that lead to an entry through one without an entry of its own
        self._emptied: dict[int, Folder] = {}  # folders without anything of a lower layer

    def add(self, folder: Folder, name: str) -> None:
        self._names.setdefault(id(folder), (folder, set()))[1].add(name)

    def has(self, folder: Folder, name: str) -> bool:
        """Whether there is such an entry, and it is still there."""
        return name in folder and id(folder) in self._names and name in self._names[id(folder)][1]

    def pass_through(self, way: list[Folder]) -> None:
        """Note the folders on the way to one without an entry of its own."""
        for folder in reversed(way):
            if id(folder) in self._passed:  # and so are those above it
                break
            self._passed[id(folder)] = folder

    def passed(self, folder: Folder) -> bool:
        """Whether something new is below, in a folder without an entry of its own."""
        return id(folder) in self._passed

    def below(self, folder: Folder) -> bool:
        """Whether anything below is new."""
        return id(folder) in self._names or id(folder) in self._passed

    def mark_emptied(self, folder: Folder) -> bool:
        """Note that a folder has nothing of a lower layer; return whether that is news."""
        known = id(folder) in self._emptied
        self._emptied[id(folder)] = folder
        return not known


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


def _remove(folder: Folder, name: str, new: _New) -> None:
    """Remove what lower layers have under a name."""
    node = folder.get(name)
    if new.has(folder, name) or (isinstance(node, dict) and new.below(node)):
        raise TarError(f"{name!a} is removed by its own layer, which engines do or do not")
    folder.pop(name, None)


def _empty(folder: Folder, new: _New) -> None:
    """Remove what lower layers have in a folder."""
    if new.passed(folder):
        raise TarError("a folder is emptied after its layer has put something below it, which engines remove or keep")
    pending = [folder]
    while pending:
        inside = pending.pop()
        if not new.mark_emptied(inside):
            continue
        for name in [name for name in inside if not new.has(inside, name)]:
            del inside[name]
        pending += [node for node in inside.values() if isinstance(node, dict)]
