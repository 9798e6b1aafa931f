"""What every target is, and how its name is read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datapack.errors import ImageError, UsageError
from datapack.oci import Descriptor
from datapack.report import size as readable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from datapack.image import Image
    from datapack.layers import Writable
    from datapack.reference import Reference

FORMS = "oci:DIR, oci-archive:FILE (or - for a pipe), docker-daemon:[NAME:TAG]"


@dataclass(frozen=True)
class Part:
    """A layer or a config on its way to a target.

    ``digest`` is known beforehand or empty; ``size`` always is. ``write`` puts the bytes out and returns their digest.
    """

    media_type: str
    size: int
    digest: str
    write: Callable[[Writable], str]

    def descriptor(self, digest: str) -> Descriptor:
        return Descriptor(self.media_type, digest, self.size)


class Target(Protocol):
    """Where an image goes."""

    @property
    def streams(self) -> int:
        """How many parts may be added at once; 1 where they must come in order."""

    def add(self, part: Part) -> Descriptor:
        """Take one part; return its descriptor. What is there already is not written again."""

    def commit(self, image: Image) -> str:
        """Take the image that the parts make, and show it under its name; return that name."""


def open_target(text: str, folder: Path, reference: Reference) -> AbstractContextManager[Target]:
    """Open the target that ``text`` names, with paths seen from ``folder``.

    Raises:
        UsageError: no such form.
        ImageError: it can't be written, or holds something else.
    """
    form, _, name = text.partition(":")
    if form == "oci" and name and ":" not in name:
        from datapack.targets.layout import open_layout

        return open_layout(folder / name, reference)
    if form == "oci-archive" and name and ":" not in name:
        from datapack.targets.archive import open_archive, open_pipe

        return open_pipe() if name == "-" else open_archive(folder / name)
    if form == "docker-daemon":
        from datapack.targets.daemon import open_daemon

        return open_daemon(name or f"{reference.name}:{reference.version}")
    raise UsageError("not a target", where=repr(text), expected=FORMS)


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
