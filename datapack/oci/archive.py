"""The OCI archive: a layout in one uncompressed tar file, read in place, without unpacking it."""

from __future__ import annotations

import io
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from datapack.errors import ImageError
from datapack.files import open_regular
from datapack.jsonfile import parse_json
from datapack.oci.boundary import boundary
from datapack.oci.image import READABLE_AT_ONCE, read_json
from datapack.oci.index import find_image, split_tag
from datapack.oci.spec import Descriptor, parse_object
from datapack.oci.tar import TarError, TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_INDEX = "index.json"
_DOCKER = "manifest.json"  # what `docker load` reads instead of the index
_OLD_DOCKER = "repositories"  # what it reads where there is neither


class Place(NamedTuple):
    """Where a file's content is in an archive, in bytes."""

    start: int
    size: int


@dataclass(frozen=True)
class Archive:
    """An OCI archive, as a `Storage`."""

    path: Path
    places: Mapping[str, Place]  # by the name in the archive
    tag: str = ""  # the image's name in the archive, where there is more than one image

    seekable = True
    streams = None

    @classmethod
    def at(cls, folder: Path, text: str) -> Archive:
        """Find the archive that ``PATH[:TAG]`` names; ``PATH`` is relative to ``folder``."""
        return cls.find(*split_tag(folder, text))

    @classmethod
    def find(cls, path: Path, tag: str = "") -> Archive:
        """Index the members of an archive; raise `ImageError` if the file is not one."""
        with open_regular(path, ImageError) as file, boundary(path):
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            try:
                return cls(path, dict(_places(TarReader(file, size, file.seek))), tag)
            except TarError as error:
                raise ImageError(
                    "not an archive", where=path, expected="an uncompressed tar file", found=error
                ) from error

    def image(self) -> Descriptor:
        with boundary(self.path):
            found = find_image(self.read_index(), self.tag, lambda part: read_json(self, part), where=self.path)
            self._check_other_lists(found)
            return found

    def locate(self, descriptor: Descriptor) -> str:
        return f"{self.path} {blob_name(descriptor.digest)}"

    def size(self, descriptor: Descriptor) -> int | None:
        place = self.places.get(blob_name(descriptor.digest))
        return None if place is None else place.size

    def open(self, descriptor: Descriptor) -> BinaryIO:
        if self.size(descriptor) is None:
            raise ImageError("a part of the image is missing", where=self.path, expected=descriptor.digest)
        return self._open(blob_name(descriptor.digest))

    def read_index(self) -> dict[str, Any]:
        """Read ``index.json``; raise `ImageError` if it is missing or malformed."""
        return parse_object(self._read(_INDEX), self.path)

    def _open(self, name: str) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Section(self.path, self.places[name])))

    def _read(self, name: str) -> bytes:
        if name not in self.places:
            raise ImageError("not an OCI archive", where=self.path, found=f"no {name}")
        with self._open(name) as file:
            return file.read(READABLE_AT_ONCE + 1)

    def _check_other_lists(self, image: Descriptor) -> None:
        """Raise `ImageError` if ``docker load`` would find another image in this archive than the index names."""
        if _DOCKER in self.places:
            others = parse_json(self._read(_DOCKER), self.path, ImageError)
            manifest = read_json(self, image)
            names = [blob_name(Descriptor.parse(layer, self.path).digest) for layer in manifest.get("layers") or ()]
            config = blob_name(Descriptor.parse(manifest.get("config"), self.path).digest)
            named = {"Config": config, "Layers": names}
            if isinstance(others, list) and all(_names(other, named) for other in others):
                return
        elif _OLD_DOCKER not in self.places:
            return
        what = "docker load would load another image than the index names"
        raise ImageError(what, where=self.path, fix="write the archive anew, with datapack or skopeo")


def _names(other: Any, named: Mapping[str, Any]) -> bool:
    """Whether an entry of Docker's list names an image's config and layers, and has no key in another case."""
    keys = {"Config", "Layers", "RepoTags", "Parent"}
    return isinstance(other, dict) and other.keys() <= keys and {**other, **named} == other


def _places(archive: TarReader) -> Iterator[tuple[str, Place]]:
    """Yield where each file is; raise `TarError` for what programs unpack differently."""
    known: set[str] = set()
    for entry in archive:
        name = posixpath.normpath(f"/{entry.name.lstrip('/')}")[1:]
        if ".." in entry.name.split("/"):
            raise TarError(f"{entry.name!a} has a '..' part")
        if entry.is_folder:
            continue
        if not entry.is_file:
            raise TarError(f"{entry.name!a} is {entry.kind}")
        if name in known:
            raise TarError(f"{entry.name!a} is there twice")
        known.add(name)
        yield name, Place(entry.start, entry.size)


def blob_name(digest: str) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


class _Section(io.RawIOBase):
    """A section of a file that reads like a separate file."""

    def __init__(self, path: Path, place: Place) -> None:
        self._file = open_regular(path, ImageError)
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
        count = self._file.readinto(view) or 0  # type: ignore[attr-defined] # a regular file has it
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
