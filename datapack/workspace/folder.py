"""The workspace: the folder that holds ``datasets.yml``."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import CatalogError, DatapackError
from datapack.files import disk_errors, read_limited, remove_temporaries, temporary_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.reference import Reference


CATALOG = "datasets.yml"
LOCK = "datasets.lock"
REHEARSAL_MARK = "datapack-rehearsal"  # marks the folder of a rehearsal; locked as long as its process is alive
_OWNER_ONLY = 0o700
_NOTE_LIMIT = 1 << 10  # bytes


def keep_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; an existing one that everybody may enter becomes such a folder.

    One that is open to a group, and not to everybody, stays as somebody chose it.
    """
    try:
        folder.mkdir(mode=_OWNER_ONLY, parents=True)
    except FileExistsError:
        if is_open_to_all(folder):
            folder.chmod(_OWNER_ONLY)


def is_open_to_all(folder: Path) -> bool:
    """Whether everybody on this machine may enter a folder, or read or change its list of names."""
    return bool(folder.stat().st_mode & stat.S_IRWXO)


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

    @classmethod
    def find_if_any(cls, start: Path) -> Workspace | None:
        """Find it, or return None outside one: an image or a bag can be checked anywhere."""
        try:
            return cls.find(start)
        except CatalogError:
            return None

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

    def findings(self, digest: str, rules: str) -> Path:
        """Return where the findings of a dataset are kept, by its digest and a hash of the rules."""
        return self.cache / "findings" / f"{digest.removeprefix('sha256:')}-{rules[:16]}.json"

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

    def dist(self, reference: Reference, *, runnable: bool = False) -> Path:
        """Return the default target of a version's import container, or of its ready-to-run image."""
        return self.root / "dist" / f"{reference.name}-{reference.version}{'-run' if runnable else ''}"

    def rehearsals(self, reference: Reference) -> Path:
        """Return the folder of the rehearsals of a version; each holds what its import wrote."""
        return self.root / "dist" / "rehearsals" / f"{reference.name}-{reference.version}"

    def provenance(self, reference: Reference) -> Path:
        """Return the path of the provenance of the default target."""
        return self.root / "dist" / f"{reference.name}-{reference.version}.provenance.json"

    def report(self, reference: Reference) -> Path:
        """Return the path of the page of `datapack report`, which may have images of the data."""
        return self.root / "dist" / f"{reference.name}-{reference.version}.report.html"

    def metadata(self, reference: Reference) -> Path:
        """Return the folder of what `datapack metadata` writes."""
        return self.root / "dist" / f"{reference.name}-{reference.version}.metadata"

    def ingress(self, reference: Reference, *, runnable: bool = False) -> Path:
        """Return the folder of the record that `datapack ingress` writes of an image."""
        image = self.dist(reference, runnable=runnable)
        return image.with_name(f"{image.name}.ingress")

    @property
    def writer(self) -> Path:
        """A note that says who is writing, for the error of another process."""
        return self.cache / "writer"

    @contextlib.contextmanager
    def exclusive(self, doing: str) -> Iterator[None]:
        """Lock this folder for one writer; the kernel releases it however the process ends.

        The lock is on the folder itself, so no file can be deleted to get past it. Temporary files that a killed writer
        left beside the catalog and the lock are removed.

        Raises:
            DatapackError: another process is writing, or this one can't write here.
        """
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._lock(descriptor)
            with disk_errors(self.cache, DatapackError):
                for folder in (self.root, self.cache):
                    remove_temporaries(folder)
                self._sign(f"{doing} (process {os.getpid()})\n")
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    self.writer.unlink()
        finally:
            os.close(descriptor)

    def _sign(self, text: str) -> None:
        """Write the note; on a full disk there is none, as 'datapack remove' must be able to make room."""
        try:
            with temporary_file(self.cache) as (note, temporary):
                note.write(text.encode())
                note.flush()
                temporary.replace(self.writer)
        except IsADirectoryError:
            raise DatapackError("a folder is in the way", where=self.writer, fix="remove it") from None
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = None
            with contextlib.suppress(DatapackError):
                found = read_limited(self.writer, _NOTE_LIMIT, DatapackError).decode(errors="replace").strip()
            raise DatapackError(
                "another datapack process is running in this folder",
                where=self.root,
                found=found,
                fix="wait until it has finished",
            ) from None
        except OSError as error:
            fix = "use a disk that supports locks"
            raise DatapackError("can't lock this folder", where=self.root, found=error.strerror, fix=fix) from error
