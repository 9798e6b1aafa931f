"""The OCI image layout: a folder with ``index.json`` and every blob as a file named by its digest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError
from datapack.oci.spec import Descriptor, checked, single_image

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """An OCI image layout: a folder with ``index.json`` and every part as a file named by its digest."""

    root: Path

    @property
    def index(self) -> Path:
        return self.root / "index.json"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def holds(self, digest: str, size: int) -> bool:
        """Say whether a blob of this digest and size is there; its bytes are not read."""
        try:
            return self.blob(digest).stat().st_size == size
        except OSError:
            return False

    def image(self) -> Descriptor:
        """Return the descriptor of the one image in this layout; raise `ImageError` where there is not exactly one."""
        return single_image(read_json(self.index), where=self.index)

    def read(self, descriptor: Descriptor) -> bytes:
        """Read a small blob, a manifest or a config, and check its digest."""
        path = self.blob(descriptor.digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ImageError("a part of the image can't be read", where=path, found=error.strerror) from error
        return checked(content, descriptor.digest, where=path)


def read_json(path: Path) -> Any:
    """Read a JSON file of an image; raise `ImageError` where it can't be read as such."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ImageError("not an OCI layout: its index can't be read", where=path, found=error.strerror) from error
    except ValueError as error:
        raise ImageError("not JSON", where=path, found=error) from error
