"""The objects in DVC's cache, read without DVC: a listing of each tracked bag, and its files by their md5.

An object is removed only if its own bytes were read and are not what its name says, or by `datapack remove` if only the
removed version needs it; and only from the cache inside ``.dvc``: any other cache may be shared with people whose only
copy it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datapack.errors import VersioningError
from datapack.fetch.dvc.settings import cache_folder, find_repository
from datapack.files import TEMPORARY_PREFIX, open_regular, read_limited, share_blocks, temporary_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MD5 = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
_LIMIT = 4 << 30  # bytes of a listing or a manifest: more than those of ten million files
_BLOCK = 1 << 20  # bytes
_PROTECTED = 0o444  # DVC takes an object of this mode for sound
_OWN_NAMES = 2  # in the bag and here; with more, it is a file of the user's too (``link: true``), whose mode stays
_DAY = 24 * 60 * 60  # seconds


def check_md5(text: object) -> str:
    """Return DVC's name of an object if it is one, and not a path that leads elsewhere; raise `ValueError` if not."""
    if not isinstance(text, str) or not _MD5.fullmatch(text):
        raise ValueError("not an md5")
    return text


def _places(paths: Iterable[str]) -> Iterator[tuple[int, int] | None]:
    """Yield each file's place on its disk, which links have in common; None for a file that is not there."""
    for path in paths:  # no `Path` for each: there may be hundreds of thousands
        try:
            found = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            yield None
        else:
            yield found.st_dev, found.st_ino


def _hardlink(file: Path, path: Path, _: Path) -> None:
    path.hardlink_to(file)


def _reflink(file: Path, path: Path, folder: Path) -> None:
    with file.open("rb") as source, temporary_file(folder) as (out, temporary):
        share_blocks(source.fileno(), out.fileno())
        temporary.replace(path)


def _copy(file: Path, path: Path, folder: Path) -> None:
    with temporary_file(folder) as (_, temporary):
        shutil.copyfile(file, temporary)
        temporary.replace(path)


def _have_same_bytes(path: Path, other: Path) -> bool:
    with open_regular(path, VersioningError) as file, open_regular(other, VersioningError) as another:
        while (block := file.read(_BLOCK)) == another.read(_BLOCK):
            if not block:
                return True
    return False


def one_md5(path: Path, other: Path) -> VersioningError:
    """Return the error for two files that DVC would take for one."""
    return VersioningError(
        "two different files have one md5, so DVC can't keep both",
        where=path,
        found=f"the other is {other}",
        fix="one was made to deceive: leave it out with 'exclude:', and run the same command again with --refresh",
    )


_WAYS = {"hardlink": _hardlink, "reflink": _reflink, "copy": _copy}


@dataclass(frozen=True)
class DvcCache:
    """DVC 3's cache."""

    folder: Path
    private: bool  # whether its objects are inside .dvc, so that they belong to this repository alone

    @classmethod
    def of(cls, root: Path) -> DvcCache:
        """Return the cache of the DVC repository that ``root`` is in."""
        cache, repository = cls(cache_folder(root), private=False), find_repository(root)
        return replace(
            cache, private=repository is not None and repository.resolve() in cache.objects.resolve().parents
        )

    @property
    def objects(self) -> Path:
        """The folder of the objects, which may be on another disk than that of the cache."""
        return self.folder / "files" / "md5"

    def path(self, md5: str) -> Path:
        """Return the path of an object."""
        return self.objects / md5[:2] / md5[2:]

    def has(self, md5: str) -> bool:
        return self.path(md5).exists()

    def read(self, md5: str) -> bytes | None:
        """Return the bytes of an object, unchecked, or None if the cache lacks it."""
        return read_limited(self.path(md5), _LIMIT, VersioningError) if self.has(md5) else None

    def tree(self, md5: str) -> dict[str, str]:
        """Return the md5 of each file of a tracked bag, by its path below the bag; none without a sound listing."""
        try:
            tree = json.loads(self.read(md5) or b"[]")
            return {str(entry["relpath"]): check_md5(entry["md5"]) for entry in tree}
        except (ValueError, RecursionError, LookupError, TypeError):
            return {}

    def linked(self, folder: Path, names: Sequence[str], trees: Iterable[str]) -> dict[str, str]:
        """Return the md5 of those files in a folder that are links to objects of tracked bags; no file is read."""
        known = sorted({md5 for tree in trees for md5 in self.tree(tree).values()})
        top = str(self.objects)
        objects = dict(zip(_places(f"{top}/{md5[:2]}/{md5[2:]}" for md5 in known), known, strict=True))
        objects.pop(None, None)
        found = zip(names, _places(f"{folder}/{name}" for name in names), strict=True) if objects else ()
        return {name: objects[place] for name, place in found if place in objects}

    def add(self, file: Path, md5: str, links: Sequence[str]) -> None:
        """Make a file an object, linked or copied in the first of these ways that the disk supports.

        An object that is there already is read: a damaged one is replaced.

        Args:
            file: its md5 must be known.
            md5: the object's name.
            links: ``reflink``, ``hardlink`` or ``copy``, in this order of preference; the last must be ``copy``.

        Raises:
            VersioningError: an object is damaged, and the cache may belong to others; or another file has this md5.
            OSError: the disk can't be written to.
        """
        path = self.path(md5)
        if not path.exists() or not self._is_kept(file, md5):
            path.parent.mkdir(parents=True, exist_ok=True)
            for link in links:
                try:
                    _WAYS[link](file, path, self.objects)
                    break
                except OSError:
                    if link == "copy":
                        raise
        with contextlib.suppress(OSError):  # as in DVC: the disk has no permissions, or the file is another user's
            mode, names = path.stat().st_mode, path.stat().st_nlink
            if stat.S_IMODE(mode) != _PROTECTED and names <= _OWN_NAMES:  # also one that a kill left so
                path.chmod(_PROTECTED)

    def _is_kept(self, file: Path, md5: str) -> bool:
        """Whether an object that is there has the bytes of a file with its md5; a damaged one is removed.

        Two files can have one md5: anybody can make such files today.
        """
        path = self.path(md5)
        if path.samefile(file) or _have_same_bytes(path, file):
            return True
        if not self.remove_damaged([md5]):
            raise one_md5(file, path)
        return False

    def remove_leftovers(self) -> None:
        """Remove the temporary files of killed runs; in a shared cache, those that nobody has written to for a day."""
        for path in self.objects.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):  # another user's, or removed by another run
                if self.private or time.time() - path.stat().st_mtime > _DAY:
                    path.unlink()

    def is_damaged(self, md5: str) -> bool:
        """Read an object and say whether its bytes are others than its name says."""
        if not self.has(md5):
            return False
        digest = hashlib.md5(usedforsecurity=False)
        with open_regular(self.path(md5), VersioningError) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest() != md5.removesuffix(".dir")

    def remove_damaged(self, md5s: Iterable[str]) -> int:
        """Remove those of these objects that are damaged; return how many there were.

        Raises:
            VersioningError: some are damaged, and the cache may belong to others.
        """
        damaged = [self.path(md5) for md5 in dict.fromkeys(md5s) if self.is_damaged(md5)]
        if damaged and not (self.private and not any(path.parent.is_symlink() for path in damaged)):
            raise VersioningError(
                "files in DVC's cache are damaged",
                where=self.folder,
                found=f"{len(damaged):,}, such as {damaged[0].relative_to(self.folder)}",
                fix="the cache may be shared, so datapack removes nothing: move them away, or ask its owner to",
                details=tuple(map(str, damaged)),
            )
        for path in damaged:
            path.unlink(missing_ok=True)
        return len(damaged)
