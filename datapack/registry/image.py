"""An image in a registry, as a `Storage`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from datapack.oci.spec import DOCKER_EQUIVALENTS, INDEX, MANIFEST, Descriptor, parse_object
from datapack.registry.upload import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.registry.repository import Repository

_BUFFER = 1 << 20  # bytes


@dataclass(frozen=True)
class RemoteImage:
    """The image that a name in a registry stood for when it was found, and every other part in that repository."""

    repository: Repository
    manifest: bytes  # of the image or the index

    seekable = False
    streams = 4  # downloads at once

    @classmethod
    def find(cls, repository: Repository) -> RemoteImage:
        """Find the image of the repository's name, by its digest or its tag; raise `ImageError` if there is none."""
        name = repository.name
        return cls(repository, repository.manifest(name.digest or name.tag or "latest"))

    def image(self) -> Descriptor:
        media_type = str(parse_object(self.manifest, where=self.repository.name).get("mediaType", MANIFEST))
        return Descriptor.of(DOCKER_EQUIVALENTS.get(media_type, media_type), self.manifest)

    def locate(self, descriptor: Descriptor) -> str:
        return f"{self.repository.name.path}@{descriptor.digest}"

    def size(self, descriptor: Descriptor) -> int | None:
        found = self.repository.blob_size(descriptor.digest)
        return sum(map(len, self.repository.blob(descriptor))) if found == UNKNOWN else found

    def open(self, descriptor: Descriptor) -> BinaryIO:
        if descriptor.digest == self.image().digest:
            return io.BytesIO(self.manifest)
        if descriptor.media_type in {INDEX, MANIFEST}:
            return io.BytesIO(self.repository.manifest(descriptor.digest))
        return cast("BinaryIO", io.BufferedReader(_Stream(self.repository.blob(descriptor)), _BUFFER))


class _Stream(io.RawIOBase):
    """Blocks as they come, as a file that can be read once."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = block
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
