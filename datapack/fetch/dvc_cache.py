"""The objects in DVC's cache, read without DVC: a listing of each tracked bag, and its files by their md5.

An object is removed only if its own bytes were read and are not what its name says, and only from the cache inside
``.dvc``: any other cache may be shared with people whose only copy it holds.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import VersioningError
from datapack.fetch.dvc_settings import cache_folder, find_repository
from datapack.files import open_regular, read_limited

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MD5 = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
_LIMIT = 4 << 30  # bytes of a listing or a manifest: more than those of ten million files
_BLOCK = 1 << 20  # bytes


def check_md5(text: object) -> str:
    """Return DVC's name of an object if it is one, and not a path that leads elsewhere; raise `ValueError` if not."""
    if not isinstance(text, str) or not _MD5.fullmatch(text):
        raise ValueError("not an md5")
    return text


@dataclass(frozen=True)
class DvcCache:
    """DVC 3's cache."""

    folder: Path
    private: bool  # whether it is inside .dvc, so that it belongs to this repository alone

    @classmethod
    def of(cls, root: Path) -> DvcCache:
        """Return the cache of the DVC repository that ``root`` is in."""
        folder, repository = cache_folder(root), find_repository(root)
        return cls(folder, repository is not None and repository.resolve() in folder.resolve().parents)

    def path(self, md5: str) -> Path:
        """Return the path of an object."""
        return self.folder / "files" / "md5" / md5[:2] / md5[2:]

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
        if damaged and not self.private:
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
