"""Images that are stored somewhere, read part by part; here those on disk, as a layout or as an archive."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, cast

from datapack.errors import ImageError
from datapack.oci.layout import Layout
from datapack.oci.spec import Descriptor, checked, parse_object, single_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_READABLE_AT_ONCE = 64 << 20  # bytes: no manifest or config is larger


class StoredImage(Protocol):
    """An image, on disk or in a registry."""

    @property
    def seekable(self) -> bool:
        """Whether a part can be sought in once it is open."""

    @property
    def streams(self) -> int:
        """How many parts may well be read at once."""

    def descriptor(self) -> Descriptor:
        """Return the descriptor of the image's manifest."""

    def size(self, digest: str) -> int | None:
        """Return how many bytes the part of this digest has, or None where it is missing."""

    def open(self, digest: str) -> BinaryIO:
        """Open a part to read it."""


@contextlib.contextmanager
def open_image(form: str, path: Path) -> Iterator[StoredImage]:
    """Open ``oci`` or ``oci-archive`` at ``path``; raise `ImageError` where there is none."""
    if form == "oci":
        yield _LayoutImage(Layout(path))
        return
    try:
        with path.open("rb") as file:
            yield _ArchiveImage(path, file)
    except OSError as error:
        raise ImageError("the archive can't be read", where=path, found=error.strerror) from error


def read_json(image: StoredImage, descriptor: Descriptor) -> dict[str, Any]:
    """Read a part of an image that is a JSON object, and check its digest; raise `ImageError` for anything else."""
    if image.size(descriptor.digest) is None:
        raise ImageError("a part of the image is missing", where=descriptor.digest)
    with image.open(descriptor.digest) as file:
        content = checked(file.read(_READABLE_AT_ONCE), descriptor.digest, where=descriptor.media_type)
    return parse_object(content, where=descriptor.digest)


class _LayoutImage:
    seekable = True
    streams = len(os.sched_getaffinity(0))

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def descriptor(self) -> Descriptor:
        return self._layout.image()

    def size(self, digest: str) -> int | None:
        path = self._layout.blob(digest)
        return path.stat().st_size if path.is_file() else None

    def open(self, digest: str) -> BinaryIO:
        return self._layout.blob(digest).open("rb")


class _Place(NamedTuple):
    start: int
    size: int


class _ArchiveImage:
    seekable = True
    streams = len(os.sched_getaffinity(0))

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                self._places = {member.name: _Place(member.offset_data, member.size) for member in archive}
        except tarfile.TarError as error:
            raise ImageError("not an archive", where=path, expected="an uncompressed tar file", found=error) from error

    def descriptor(self) -> Descriptor:
        if "index.json" not in self._places:
            raise ImageError("not an OCI archive", where=self._path, found="no index.json")
        with self._window("index.json") as file:
            return single_image(json.loads(file.read(_READABLE_AT_ONCE)), where=self._path)

    def size(self, digest: str) -> int | None:
        place = self._places.get(_name(digest))
        return None if place is None else place.size

    def open(self, digest: str) -> BinaryIO:
        return self._window(_name(digest))

    def _window(self, name: str) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Window(self._path, self._places[name])))


def _name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


class _Window(io.RawIOBase):
    """A part of a file, as if it were a file of its own."""

    def __init__(self, path: Path, place: _Place) -> None:
        self._file = path.open("rb", buffering=0)
        self._place = place
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._place.size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._place.size - self._at)]
        self._file.seek(self._place.start + self._at)
        count = self._file.readinto(view) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
