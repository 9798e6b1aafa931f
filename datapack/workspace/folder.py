"""The workspace: the folder that holds ``datasets.yml``."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import CatalogError, DatapackError
from datapack.files import remove_temporaries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.reference import Reference


CATALOG = "datasets.yml"
LOCK = "datasets.lock"


@dataclass(frozen=True)
class Workspace:
    """The paths of everything in the workspace. ``root`` is absolute."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> Workspace:
        """Find the nearest folder at or above ``start`` that holds ``datasets.yml``, as git does."""
        start = start.resolve()
        for folder in (start, *start.parents):
            if (folder / CATALOG).is_file():
                return cls(folder)
        raise CatalogError(
            f"no {CATALOG} here or in any folder above",
            where=start,
            fix="run 'datapack init' to create one, or choose a folder with -C",
        )

    @property
    def catalog(self) -> Path:
        return self.root / CATALOG

    @property
    def lock(self) -> Path:
        return self.root / LOCK

    @property
    def cache(self) -> Path:
        return self.root / ".datapack"

    @property
    def hashes(self) -> Path:
        return self.cache / "hashes.sqlite"

    @property
    def bases(self) -> Path:
        """The blobs of base images from registries."""
        return self.cache / "bases"

    def manifest(self, digest: str) -> Path:
        """Return the path of a copy of a locked manifest, which shows later what changed."""
        return self.cache / "manifests" / f"{digest.removeprefix('sha256:')}.txt"

    def bag(self, reference: Reference) -> Path:
        return self.root / "data" / reference.name / reference.version

    def partial_bag(self, reference: Reference) -> Path:
        """Return the folder where a bag is made; it gets its final name when it is complete."""
        return self.root / "data" / reference.name / f"{reference.version}.partial"

    def pointer(self, reference: Reference) -> Path:
        """Return the path of DVC's pointer to the bag."""
        return self.root / "data" / reference.name / f"{reference.version}.dvc"

    def failures(self, reference: Reference) -> Path:
        """Return the path of the report of files that could not be fetched."""
        return self.root / "data" / reference.name / f"{reference.version}.failures.json"

    def dist(self, reference: Reference) -> Path:
        return self.root / "dist" / f"{reference.name}-{reference.version}"

    @contextlib.contextmanager
    def exclusive(self, doing: str) -> Iterator[None]:
        """Lock this folder for one writer; the kernel releases it however the process ends.

        Temporary files that a killed writer left beside the catalog and the lock are removed.
        """
        path = self.cache / "writer"
        try:
            self.cache.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise DatapackError(
                "can't write here", where=self.root, found=error.strerror, fix="work in a folder that you can write to"
            ) from error
        with os.fdopen(descriptor, "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatapackError(
                    "another datapack process is running in this folder",
                    where=self.root,
                    found=file.read().strip() or None,
                    fix="wait until it has finished",
                ) from None
            file.truncate(0)
            file.write(f"{doing} (process {os.getpid()})\n")
            file.flush()
            remove_temporaries(self.root)
            yield
