"""The OCI archive: a layout in one uncompressed tar file, read in place, without unpacking it."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from datapack.errors import ImageError
from datapack.oci.image import READABLE_AT_ONCE, single_image
from datapack.oci.spec import Descriptor, parse_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: What tarfile raises for a damaged archive.
TAR_ERRORS = (tarfile.TarError, ValueError, OverflowError)
_INDEX = "index.json"


class Place(NamedTuple):
    """Where a file's content is in an archive, in bytes."""

    start: int
    size: int


@dataclass(frozen=True)
class Archive:
    """An OCI archive, as a `Storage`."""

    path: Path
    places: Mapping[str, Place]  # by the name in the archive

    seekable = True
    streams = None

    @classmethod
    def find(cls, path: Path) -> Archive:
        """Index the members of an archive; raise `ImageError` if the file is not one."""
        try:
            with tarfile.open(path, mode="r:") as archive:
                members = read_members(archive, path.stat().st_size)
                return cls(path, {member.name: Place(member.offset_data, member.size) for member in members})
        except OSError as error:
            raise ImageError("the archive can't be read", where=path, found=error.strerror) from error
        except TAR_ERRORS as error:
            raise ImageError("not an archive", where=path, expected="an uncompressed tar file", found=error) from error

    def image(self) -> Descriptor:
        if _INDEX not in self.places:
            raise ImageError("not an OCI archive", where=self.path, found=f"no {_INDEX}")
        with self._open(_INDEX) as file:
            return single_image(parse_object(file.read(READABLE_AT_ONCE), self.path), where=self.path)

    def locate(self, descriptor: Descriptor) -> str:
        return f"{self.path} {blob_name(descriptor.digest)}"

    def size(self, descriptor: Descriptor) -> int | None:
        place = self.places.get(blob_name(descriptor.digest))
        return None if place is None else place.size

    def open(self, descriptor: Descriptor) -> BinaryIO:
        if self.size(descriptor) is None:
            raise ImageError("a part of the image is missing", where=self.path, expected=descriptor.digest)
        return self._open(blob_name(descriptor.digest))

    def _open(self, name: str) -> BinaryIO:
        try:
            return cast("BinaryIO", io.BufferedReader(_Section(self.path, self.places[name])))
        except OSError as error:
            raise ImageError("the archive can't be read", where=self.path, found=error.strerror) from error


def read_members(archive: tarfile.TarFile, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive of ``size`` bytes.

    Raises:
        tarfile.ReadError: a member's content would end after the archive. tarfile itself would search for it, which
            takes years if the size in a damaged header is large enough.
    """
    for member in archive:
        if not 0 <= member.size <= size - member.offset_data:
            raise tarfile.ReadError(f"{member.name!a} is cut off")
        yield member


def blob_name(digest: str) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


class _Section(io.RawIOBase):
    """A section of a file that reads like a separate file."""

    def __init__(self, path: Path, place: Place) -> None:
        self._file = path.open("rb", buffering=0)
        self._place = place
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._place.size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._place.size - self._position)]
        self._file.seek(self._place.start + self._position)
        count = self._file.readinto(view) or 0
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
