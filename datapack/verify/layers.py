"""The dataset's files in the layers of an image: each layer is read once, several layers at a time."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal

from datapack.bag.manifest import PAYLOAD
from datapack.executor import run_all
from datapack.files import FileStat
from datapack.oci.archive import TAR_ERRORS, read_members
from datapack.oci.spec import LAYER, Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datapack.executor import Advance
    from datapack.oci.image import Storage, StoredImage
    from datapack.verify.outcome import Mode

_BLOCK = 1 << 20  # bytes


@dataclass
class Content:
    """What layers contain of the dataset, by the path below the bag's folder, and what is wrong with the layers."""

    files: dict[str, FileStat] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # of the files whose bytes were read
    tags: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, upper: Content) -> None:
        """Add the next layer: its files hide those of the layers below it."""
        self.files.update(upper.files)
        self.hashes.update(upper.hashes)
        self.tags.update(upper.tags)
        self.problems.extend(upper.problems)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


@dataclass(frozen=True)
class LayerReading:
    """The unit of work: one layer, where it is stored, and how much of it to read."""

    storage: Storage
    layer: Descriptor
    folder: str  # where the bag is in the image, without slashes around it
    depth: Literal["bytes", "headers", "size"]

    def run(self, advance: Callable[[int], None]) -> Content:
        """Read the layer."""
        content, layer = Content(), self.layer
        size = self.storage.size(layer)
        if size != layer.size:
            found = "missing" if size is None else f"{size} bytes, not {layer.size}"
            content.problems.append(f"layer    {layer.digest} is {found}")
        elif self.depth == "bytes":
            self._read_bytes(content, advance)
        elif self.depth == "headers":
            self._read_headers(content)
        return content

    def _read_headers(self, content: Content) -> None:
        """Read the headers of an uncompressed layer, and the bytes of tag files only."""
        if self.layer.media_type != LAYER:
            return
        mode = "r:" if self.storage.seekable else "r|"
        try:
            with self.storage.open(self.layer) as blob, tarfile.open(fileobj=blob, mode=mode) as archive:  # type: ignore[call-overload] # either mode
                self._read_entries(archive, content)
        except TAR_ERRORS as error:
            content.problems.append(f"layer    {self.layer.digest} is not a tar archive: {error}")

    def _read_bytes(self, content: Content, advance: Callable[[int], None]) -> None:
        """Hash the layer and, in the same pass, each of the dataset's files in it."""
        with self.storage.open(self.layer) as blob:
            stream = _HashedStream(blob, advance)
            if self.layer.media_type == LAYER:  # a compressed layer is the base's: no file of the dataset is in it
                try:
                    # Of a stream tarfile needs `read` alone, and there is nothing to close.
                    archive = tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK)  # type: ignore[call-overload] # noqa: SIM115
                    self._read_entries(archive, content)
                except TAR_ERRORS as error:
                    content.problems.append(f"layer    {self.layer.digest} is not a tar archive: {error}")
            while stream.read(_BLOCK):
                pass
        if stream.digest != self.layer.digest:
            content.problems.append(f"layer    {self.layer.digest} is damaged: its bytes have {stream.digest}")

    def _read_entries(self, archive: tarfile.TarFile, content: Content) -> None:
        for member in read_members(archive, self.layer.size):
            self._read_entry(member, archive, content)
            if self.depth == "bytes":
                archive.members.clear()  # type: ignore[attr-defined] # there may be millions, and a stream can't go back

    def _read_entry(self, member: tarfile.TarInfo, archive: tarfile.TarFile, content: Content) -> None:
        path = member.name.removeprefix(f"{self.folder}/")
        if member.isdir() or path == member.name:
            return  # not of the bag
        if not member.isreg():  # a link could lead to any other file
            content.problems.append(f"layer    {self.layer.digest} contains {member.name!a}, which is not a file")
            return
        if not path.startswith(f"{PAYLOAD}/"):
            if file := archive.extractfile(member):
                content.tags[path] = file.read()
            return
        content.files[path] = FileStat(member.size, 0)
        if self.depth == "bytes" and (file := archive.extractfile(member)):
            content.hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # it can readinto


def read_layers(image: StoredImage, folder: str, mode: Mode, advance: Callable[[int], None]) -> Content:
    """Read the layers of an image and put them on top of each other in its order.

    Args:
        image: the image.
        folder: where the bag is in it, without slashes around it.
        mode: ``full`` reads every byte; ``quick`` reads headers, or where it can't seek only the last layer's, which
            contains the manifest.
        advance: called with the number of bytes read since its last call.
    """
    content = Content()
    for layer in run_all(_read, _readings(image, folder, mode), workers=image.storage.streams, advance=advance):
        content.add(layer)
    return content


def _readings(image: StoredImage, folder: str, mode: Mode) -> Iterator[LayerReading]:
    for layer in image.layers:
        if mode == "full":
            yield LayerReading(image.storage, layer, folder, "bytes")
        elif image.storage.seekable or layer is image.layers[-1]:
            yield LayerReading(image.storage, layer, folder, "headers")
        else:
            yield LayerReading(image.storage, layer, folder, "size")


def _read(reading: LayerReading, advance: Advance) -> Content:
    return reading.run(advance)


class _HashedStream:
    """A stream that hashes what is read from it."""

    def __init__(self, blob: BinaryIO, advance: Callable[[int], None]) -> None:
        self._blob, self._advance, self._hash = blob, advance, hashlib.sha256()

    def read(self, count: int) -> bytes:
        block = self._blob.read(count)
        self._hash.update(block)
        self._advance(len(block))
        return block

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
