"""The layers of an image, read and checked: each layer is read once, several layers at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from datapack.bag.manifest import PAYLOAD
from datapack.bag.tag_file import LIMIT
from datapack.executor import run_all
from datapack.files import FileStat
from datapack.image.base_rules import BaseFiles
from datapack.image.config import STEP
from datapack.image.form import LayerForm
from datapack.image.program import EARLIER, program_digest
from datapack.oci.boundary import FAILURES
from datapack.oci.compression import UNPACKED_LIMIT, can_unpack, unpacked
from datapack.oci.filesystem import list_entries
from datapack.oci.spec import LAYER, Descriptor
from datapack.oci.tar import READ_AT_ONCE, TarError, TarReader
from datapack.text import size as shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datapack.executor import Advance
    from datapack.oci.image import Storage, StoredImage
    from datapack.verify.outcome import Mode

Role = Literal["base", "program", "data", "tags"]
Depth = Literal["bytes", "headers", "size"]


@dataclass(frozen=True)
class Parts:
    """Which layers of an image are whose: the base's, then the import program, then data, and last the tag files."""

    below: int  # how many are the base's
    has_program: bool = True  # whether the import program follows
    earlier: str = ""  # the datapack that wrote the program, if it was not this one

    def role(self, number: int, last: int) -> Role:
        """Return what a layer is for, by its number and that of the last one."""
        if number < self.below:
            return "base"
        if number == self.below and self.has_program:
            return "program"
        return "tags" if number == last else "data"


@dataclass
class Content:
    """What layers contain of the dataset, by the path below the bag's folder, and what is wrong with the layers."""

    files: dict[str, FileStat] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # of the files whose bytes were read
    tags: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    entries: list[tuple[str, str, str]] | None = None  # of one layer of the base, if it could be read
    base: BaseFiles = field(default_factory=BaseFiles, compare=False)  # of the layers so far

    def add(self, upper: Content) -> None:
        """Add the next layer. No two layers of datapack's have the same file."""
        twice = sorted(self.files.keys() & upper.files.keys())
        if twice:
            self.problems.append(f"layers   two of them contain {twice[0]}, and {len(twice) - 1:,} other files")
        self.files.update(upper.files)
        self.hashes.update(upper.hashes)
        self.tags.update(upper.tags)
        self.problems.extend(upper.problems)
        if upper.entries is not None:
            self.base.add(upper.entries)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


@dataclass(frozen=True)
class LayerReading:
    """The unit of work: one layer, where it is stored, what it should be, and how much of it to read."""

    storage: Storage
    layer: Descriptor
    role: Role
    folder: str  # where the bag is in the image, without slashes around it
    depth: Depth
    diff_id: str  # the digest of the layer's archive, as the config says

    def run(self, advance: Callable[[int], None]) -> Content:
        """Read the layer."""
        content, layer = Content(), self.layer
        size = self.storage.size(layer)
        if size != layer.size:
            found = "missing" if size is None else f"{size} bytes, not {layer.size}"
            self._complain(content, f"is {found}")
        elif self.role != "base" and layer.media_type != LAYER:
            self._complain(content, f"is {layer.media_type}, not {LAYER}: was it compressed on the way?")
        elif self.depth != "size":
            with self.storage.open(layer) as blob:
                self._read(blob, content, advance)
        return content

    def _read(self, blob: BinaryIO, content: Content, advance: Callable[[int], None]) -> None:
        """Read what there is to see at this depth; hash the layer, and in the same pass each file, for ``bytes``."""
        stream = _HashedStream(blob, advance)
        try:
            if self.role == "base":
                self._read_base(stream, content)
            elif self.role != "program":
                self._read_ours(stream, content)
        except FAILURES as error:
            self._complain(content, f"can't be read as a tar archive: {error}")
        if self.depth == "bytes":
            stream.drain()
            if stream.digest != self.layer.digest:
                self._complain(content, f"is damaged: its bytes have {stream.digest}")

    def _read_base(self, stream: _HashedStream, content: Content) -> None:
        """List what is in a layer of the base; for ``bytes``, check its archive against the config too."""
        if not can_unpack(self.layer.media_type):
            return
        plain = self.layer.media_type == LAYER
        archive = stream if plain else _HashedStream(unpacked(self.layer.media_type, stream, self.layer.digest))
        reader = TarReader(archive, self.layer.size if plain else UNPACKED_LIMIT, self._seek(stream) if plain else None)
        content.entries = list_entries(reader)
        if self.depth == "bytes":
            archive.drain()
            if archive.digest != self.diff_id:
                self._complain(content, f"unpacks to {archive.digest}, not to {self.diff_id} as the config says")

    def _read_ours(self, stream: _HashedStream, content: Content) -> None:
        archive = TarReader(stream, self.layer.size, self._seek(stream))
        form = LayerForm("tags" if self.role == "tags" else "data", self.folder)
        try:
            for path, entry in form.files(archive):
                if not path.startswith(f"{PAYLOAD}/"):
                    if entry.size > LIMIT:
                        raise TarError(f"{path} has {shown(entry.size)}, more than {shown(LIMIT)}")
                    content.tags[path] = b"".join(archive.content(entry))
                    form.check_padding(archive, entry)
                    continue
                content.files[path] = FileStat(entry.size, 0)
                if self.depth == "bytes":
                    digest = hashlib.sha256()
                    for block in archive.content(entry):
                        digest.update(block)
                    content.hashes[path] = digest.hexdigest()
                    form.check_padding(archive, entry)
        finally:
            for problem in form.problems:
                self._complain(content, problem)

    def _seek(self, stream: _HashedStream) -> Callable[[int], object] | None:
        return stream.seek if self.depth == "headers" and self.storage.seekable else None

    def _complain(self, content: Content, problem: str) -> None:
        content.problems.append(f"layer    {self.layer.digest} {problem}")


def read_layers(image: StoredImage, parts: Parts, folder: str, mode: Mode, advance: Callable[[int], None]) -> Content:
    """Read the layers of an image and put them on top of each other in its order.

    Args:
        image: the image.
        parts: which layers are whose.
        folder: where the bag is in the image, without slashes around it.
        mode: ``full`` reads every byte; ``quick`` reads headers, or where it can't seek only the last layer, which
            contains the manifest.
        advance: called with the number of bytes read since its last call.
    """
    content = Content()
    readings = _readings(image, parts, folder, mode)
    for layer in run_all(_run, readings, workers=image.storage.streams, advance=advance):
        content.add(layer)
    return content


def _readings(image: StoredImage, parts: Parts, folder: str, mode: Mode) -> Iterator[LayerReading]:
    last = len(image.layers) - 1
    diff_ids = image.config["rootfs"]["diff_ids"]
    for number, (layer, diff_id) in enumerate(zip(image.layers, diff_ids, strict=True)):
        role = parts.role(number, last)
        headers = image.storage.seekable or number == last
        depth: Depth = "bytes" if mode == "full" else "headers" if headers else "size"
        yield LayerReading(image.storage, layer, role, folder, depth, diff_id)


def _run(reading: LayerReading, advance: Advance) -> Content:
    return reading.run(advance)


def find_parts(image: StoredImage, *, runnable: bool) -> Parts | None:
    """Return which layers of an image are whose.

    Of an import container, the layer with the import program shows it. There is none if the image is not datapack's, or
    if a layer was compressed on the way. Of a ready-to-run image, its history says how many layers have data: if that
    is wrong, the layers themselves are not as they should be, which reading them shows.
    """
    if runnable:
        return _runnable_parts(image)
    for number, layer in enumerate(image.layers):
        if layer.digest == program_digest():
            return Parts(number)
        if layer.digest in EARLIER:
            return Parts(number, earlier=EARLIER[layer.digest])
    return None


def _runnable_parts(image: StoredImage) -> Parts | None:
    steps = [str(step.get("created_by") or "") for step in image.config.get("history") or ()]
    carrying = list(takewhile(lambda step: step.startswith(STEP), reversed(steps)))
    below = len(image.layers) - len(carrying)
    return Parts(below, has_program=False) if carrying and below > 0 else None


class _HashedStream:
    """A stream that hashes what is read from it."""

    def __init__(self, blob: Any, advance: Callable[[int], None] = lambda _: None) -> None:
        self._blob, self._advance, self._hash = blob, advance, hashlib.sha256()

    def read(self, count: int = READ_AT_ONCE, /) -> bytes:
        block: bytes = self._blob.read(count)
        self._hash.update(block)
        self._advance(len(block))
        return block

    def seek(self, place: int) -> None:
        """Go to a position in a stream whose hash is not needed."""
        self._blob.seek(place)

    def drain(self) -> None:
        """Read to the end."""
        while self.read():
            pass

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
