"""An image in a registry, read part by part as one on disk is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from datapack.errors import MismatchError
from datapack.oci.spec import DOCKER_EQUIVALENTS, MANIFEST, Descriptor, parse_object
from datapack.registry.referrers import statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.registry.repository import Repository


@dataclass(frozen=True)
class RemoteImage:
    """The image that a name in a registry stood for when it was opened."""

    repository: Repository
    manifest: bytes

    seekable = False
    streams = 4  # downloads at once

    @classmethod
    def of(cls, repository: Repository) -> RemoteImage:
        """Find the image of the repository's name, by its digest or else its tag."""
        name = repository.name
        return cls(repository, repository.manifest(name.digest or name.tag or "latest"))

    @cached_property
    def _descriptor(self) -> Descriptor:
        media_type = str(parse_object(self.manifest, where=self.repository.name).get("mediaType", MANIFEST))
        return Descriptor.of(DOCKER_EQUIVALENTS.get(media_type, media_type), self.manifest)

    def descriptor(self) -> Descriptor:
        return self._descriptor

    def size(self, digest: str) -> int | None:
        return len(self.manifest) if digest == self._descriptor.digest else self.repository.blob_size(digest)

    def open(self, digest: str) -> BinaryIO:
        if digest == self._descriptor.digest:
            return io.BytesIO(self.manifest)
        return cast("BinaryIO", io.BufferedReader(_Stream(self.repository.blob(digest)), 1 << 20))

    def check_statements(self) -> int:
        """Return how many statements are attached to the image; raise `MismatchError` for one of another image."""
        attached = statements(self.repository, self._descriptor.digest)
        for statement in attached:
            subjects = parse_object(statement, where=self.repository.name).get("subject") or ()
            named = [f"sha256:{subject.get('digest', {}).get('sha256')}" for subject in subjects]
            if self._descriptor.digest not in named:
                raise MismatchError(
                    "the provenance that is attached is of another image",
                    where=self.repository.name,
                    expected=self._descriptor.digest,
                    found=", ".join(named),
                )
        return len(attached)


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
