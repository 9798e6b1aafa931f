"""Find the images of a COCO file in the payload.

Tools write ``file_name`` in many ways: beside the COCO file, below a folder ``images``, with backslashes, as a path of
another machine, or as a URL of Label Studio. What most names agree on counts for all of them.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.bag.bagit import PayloadFile

_SAMPLE = 500  # names that decide where the images are
_MOST_ALIKE = 200  # files of one name that are compared: a folder per sequence can hold a frame 1 each
_MOST_WORK = 2_000_000  # files that are compared for all names


class _Place(NamedTuple):
    """Where images are: in this folder, by their names without so many folders at the beginning."""

    folder: str
    dropped: int


def locate(
    path: str, names: Sequence[str], files: Mapping[str, PayloadFile], folder: str | None = None
) -> tuple[str, ...]:
    """Return the path of each image in the payload; an empty one if it is not there.

    Args:
        path: the COCO file's path in the payload.
        names: the images' names in it.
        files: all files of the payload by their paths, in a fixed order.
        folder: where the catalog says that the images are; another place counts if none of them is there.
    """
    plain = [plain_name(name) for name in names]
    if folder is not None:
        found = _find(_Place(folder, 0), plain, files)
        if any(found):
            return found
    return _find(_vote(path, _sample(plain), files), plain, files)


def plain_name(name: str) -> str:
    """Return an image's name as a path with slashes below some folder, without ``..`` and what names a machine."""
    if "?d=" in name:  # a local file of Label Studio
        name = unquote(name.partition("?d=")[2])
    if "\\" in name:
        name = name.replace("\\", "/")
    if "://" in name:
        name = name.partition("://")[2]
    if name[0:1] in {"/", "."} or "//" in name or "/." in name:
        name = posixpath.normpath(name).lstrip("/")
        while name.startswith("../"):
            name = name[3:]
    return name


def _sample(names: Sequence[str]) -> list[str]:
    return [name for name in names[:: max(1, len(names) // _SAMPLE)] if name]


def _find(place: _Place, names: Iterable[str], files: Mapping[str, PayloadFile]) -> tuple[str, ...]:
    start = f"{place.folder}/" if place.folder else ""
    shorter = names if not place.dropped else (name.split("/", place.dropped)[-1] for name in names)
    found = (files.get(start + name) for name in shorter)
    return tuple(file.path if file else "" for file in found)


def _vote(path: str, names: Sequence[str], files: Iterable[str]) -> _Place:
    """Return the place that most of the names agree on; of equals the one that fits the COCO file's own path best."""
    nearness = _Nearness(path)
    votes: Counter[_Place] = Counter()
    alike, work = _alike(names, files), 0
    for name in names:
        candidates = alike[posixpath.basename(name)]
        work += len(candidates)
        if len(candidates) > _MOST_ALIKE:
            end = "/" + "/".join(name.split("/")[-2:])
            same = (file for file in candidates if file.endswith(end)) if end.count("/") > 1 else iter(())
            candidates = [*islice(same, _MOST_ALIKE)] or candidates[:: len(candidates) // _MOST_ALIKE]
        votes.update({_place(name, file) for file in candidates})
        if work > _MOST_WORK:
            break
    if not votes:
        return _Place(posixpath.dirname(path), 0)
    return min(votes, key=lambda place: (-votes[place], place.dropped, nearness(f"{place.folder}/x")))


def _alike(names: Iterable[str], files: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the files that have the same last part as any of the names, by that part."""
    alike: dict[str, list[str]] = {posixpath.basename(name): [] for name in names}
    for file in files:
        found = alike.get(file[file.rfind("/") + 1 :])
        if found is not None:
            found.append(file)
    return alike


def _place(name: str, file: str) -> _Place:
    """Return the place where ``name`` is ``file``: both end in the same way, for as many folders as possible."""
    parts, others = name.split("/"), file.split("/")
    same = 1
    while same < min(len(parts), len(others)) and parts[-same - 1] == others[-same - 1]:
        same += 1
    return _Place("/".join(others[:-same]), len(parts) - same)


class _Nearness:
    """How well a file fits a COCO file: the same folder, then its name in the path, then common folders."""

    def __init__(self, path: str) -> None:
        self._home = posixpath.dirname(path)
        stem = posixpath.splitext(posixpath.basename(path))[0].lower()
        words = "".join(letter if letter.isalnum() else " " for letter in stem).split()
        self._words = [word for word in words if word not in {"instances", "annotations", "coco", "result", "default"}]

    def __call__(self, file: str) -> tuple[bool, int, int, int, str]:
        """Return a key that sorts the nearest file first."""
        folder = posixpath.dirname(file)
        parts = folder.lower().split("/")
        named = sum(word in parts for word in self._words)
        common = len(posixpath.commonpath([self._home, folder]).split("/")) if self._home and folder else 0
        return folder != self._home, -named, -common, folder.count("/"), file
