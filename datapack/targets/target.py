"""The interface of every target, and what is delivered to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from datapack.catalog.model import Entry
    from datapack.image.base import Base
    from datapack.image.config import Image
    from datapack.oci.blob import Blob, Observer
    from datapack.oci.layout import Layout
    from datapack.oci.spec import Descriptor
    from datapack.progress import Reporter
    from datapack.registry.referrers import Artifact
    from datapack.workspace.cache import HashCache


@dataclass(frozen=True)
class Delivery:
    """What is delivered to a target, and how."""

    folder: Path  # where relative paths start
    entry: Entry  # of the version in the catalog
    base: Base  # what the image is based on
    runnable: bool  # whether it is a ready-to-run image, not an import container
    others: tuple[Layout, ...]  # on this disk, which may have some of its blobs
    cache: HashCache  # knows which blobs a registry has already
    reporter: Reporter
    verify: bool = False  # read what a folder has already
    streams: int = 4  # uploads at once
    insecure: bool = False  # accept http and untrusted certificates
    replace: bool = False  # replace another image of the same name
    allow_public: bool = False  # push a private dataset even where everybody can read it


class Target(Protocol):
    """Where an image goes."""

    @property
    def doing(self) -> str:
        """The label of the progress display, such as ``writing layers``."""

    @property
    def streams(self) -> int:
        """How many blobs may be added at once; 1 if they must come in order."""

    @property
    def checks(self) -> bool:
        """Whether the receiver checks a blob against its digest if that is known, so that we need not."""

    def add(self, blob: Blob, observer: Observer) -> Descriptor:
        """Add a blob, unless the target already has it; return its descriptor."""

    def commit(self, image: Image, artifacts: Iterable[Artifact]) -> str:
        """Finish the image and make it visible under its name; return that name.

        ``artifacts`` are what belongs to it, such as its provenance, for a target that can attach something.
        """
