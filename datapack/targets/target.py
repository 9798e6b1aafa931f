"""What every target is."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Protocol

from datapack.errors import ImageError
from datapack.report import size as readable

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.image import Image
    from datapack.layers import Part
    from datapack.oci import Descriptor


class Target(Protocol):
    """Where an image goes."""

    @property
    def streams(self) -> int:
        """How many parts may be added at once; 1 where they must come in order."""

    def add(self, part: Part) -> Descriptor:
        """Take one part; return its descriptor. What is there already is not written again."""

    def commit(self, image: Image) -> str:
        """Take the image that the parts make, and show it under its name; return that name."""


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise `ImageError` where ``folder``'s disk has less than ``needed`` bytes free."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ImageError(
            f"not enough space for {what}",
            where=folder,
            expected=readable(needed),
            found=f"{readable(free)} free",
            fix="make room, or name another target with --to",
        )
