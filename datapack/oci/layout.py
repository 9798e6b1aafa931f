"""The OCI image layout: a folder with ``index.json``, and every blob as a file named by its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from datapack.errors import ImageError
from datapack.files import atomic_writer, open_regular, read_limited
from datapack.hashing import new_buffer, read_blocks
from datapack.oci.image import READABLE_AT_ONCE, read_json
from datapack.oci.index import find_image, split_tag
from datapack.oci.spec import Descriptor, parse_object

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """An OCI image layout, as a `Storage`."""

    root: Path
    tag: str = ""  # the image's name in the layout, where there is more than one image

    seekable = True
    streams = None

    @classmethod
    def at(cls, folder: Path, text: str) -> Layout:
        """Return the layout that ``PATH[:TAG]`` names; ``PATH`` is relative to ``folder``."""
        return cls(*split_tag(folder, text))

    @property
    def index(self) -> Path:
        return self.root / "index.json"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def holds(self, digest: str, size: int) -> bool:
        """Whether a blob with this digest and size is there; its bytes are not read."""
        return self.size(Descriptor("", digest, size)) == size

    def image(self) -> Descriptor:
        return find_image(self.read_index(), self.tag, lambda part: read_json(self, part), where=self.index)

    def locate(self, descriptor: Descriptor) -> str:
        return str(self.blob(descriptor.digest))

    def size(self, descriptor: Descriptor) -> int | None:
        path = self.blob(descriptor.digest)
        return path.stat().st_size if path.is_file() else None

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return open_regular(self.blob(descriptor.digest), ImageError)

    def read_index(self) -> dict[str, Any]:
        """Read ``index.json``; raise `ImageError` if it is missing or malformed."""
        try:
            content = read_limited(self.index, READABLE_AT_ONCE, ImageError)
        except ImageError as error:
            what = f"not an OCI layout: {error.what}"
            raise ImageError(what, where=self.index, expected=error.expected, found=error.found) from error
        return parse_object(content, where=self.index)

    def add(self, descriptor: Descriptor, source: BinaryIO, where: object) -> None:
        """Copy a blob here. It gets its name only if its bytes have its digest.

        Args:
            descriptor: what the blob must be.
            source: its bytes. They are hashed as they are read, and none is read beyond the blob's size.
            where: where they come from, for errors.

        Raises:
            ImageError: the bytes are damaged.
        """
        digest, size = hashlib.sha256(), 0
        with atomic_writer(self.blob(descriptor.digest)) as file:
            for block in read_blocks(source.readinto, new_buffer()):  # type: ignore[attr-defined] # every source has it
                size += len(block)
                if size > descriptor.size:
                    break
                digest.update(block)
                file.write(block)
            found = f"sha256:{digest.hexdigest()}"
            if size != descriptor.size or found != descriptor.digest:
                raise ImageError(
                    "damaged: the bytes do not match the digest",
                    where=where,
                    expected=f"{descriptor.digest}, {descriptor.size} bytes",
                    found=f"{found}, {size} bytes" if size <= descriptor.size else "more bytes",
                    fix="try again",
                )
