"""What every target is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datapack.image import Image
    from datapack.layers import Part
    from datapack.oci import Descriptor


class Target(Protocol):
    """Where an image goes."""

    @property
    def doing(self) -> str:
        """What adding parts is called, for whoever waits: ``writing layers``."""

    @property
    def streams(self) -> int:
        """How many parts may be added at once; 1 where they must come in order."""

    def add(self, part: Part) -> Descriptor:
        """Take one part; return its descriptor. What is there already is not written again."""

    def commit(self, image: Image) -> str:
        """Take the image that the parts make, and show it under its name; return that name."""
