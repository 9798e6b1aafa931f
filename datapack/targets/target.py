"""What every target is, and what goes there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.catalog.model import Entry
    from datapack.image.base import Base
    from datapack.image.config import Image
    from datapack.oci.blob import Blob, Observer
    from datapack.oci.spec import Descriptor
    from datapack.progress import Reporter
    from datapack.workspace.cache import HashCache


@dataclass(frozen=True)
class Delivery:
    """What goes to a target, and how."""

    folder: Path  # where relative paths start
    entry: Entry  # what the catalog says of the version
    base: Base  # what the image stands on
    cache: HashCache  # knows which registry has what already
    reporter: Reporter
    streams: int = 4  # uploads at once
    insecure: bool = False  # take http, and certificates that nobody vouches for
    replace: bool = False  # take the place of another image of the same name


class Target(Protocol):
    """Where an image goes."""

    @property
    def doing(self) -> str:
        """What adding parts is called, for whoever waits: ``writing layers``."""

    @property
    def streams(self) -> int:
        """How many parts may be added at once; 1 where they must come in order."""

    @property
    def checks(self) -> bool:
        """Whether a part whose digest is known is held against it at its place, so that we need not."""

    def add(self, blob: Blob, observer: Observer) -> Descriptor:
        """Take one part; return its descriptor. What is there already is not written again."""

    def commit(self, image: Image, statement: bytes) -> str:
        """Take the image that the parts make, and show it under its name; return that name.

        ``statement`` is its provenance, for a target that has a place for it with the image.
        """
