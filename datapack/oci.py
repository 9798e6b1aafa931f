"""The OCI image format: descriptors, digests and layouts (image-spec 1.1)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

#: Docker's names for the same things, as Docker Hub and `docker save` still write them.
DOCKER_EQUIVALENTS = {
    "application/vnd.docker.distribution.manifest.list.v2+json": INDEX,
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER + "+gzip",
}

REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_FILE = {"imageLayoutVersion": "1.0.0"}

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(content: bytes) -> str:
    """Return the digest, ``sha256:`` and 64 hex digits, of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def is_digest(text: object) -> bool:
    """Say whether this is a sha256 digest, the only kind that datapack reads and writes."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def canonical_json(value: object) -> bytes:
    """Write JSON in the one way that gives the same bytes for the same value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Descriptor:
    """What one part of an image names another by: media type, digest, and size in bytes."""

    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, media_type: str, content: bytes) -> Descriptor:
        """Describe some bytes."""
        return cls(media_type, digest_of(content), len(content))

    @classmethod
    def parse(cls, value: Any, where: object) -> Descriptor:
        """Read a descriptor, giving OCI's name to a Docker media type; raise `ImageError` for anything else."""
        try:
            media_type, digest, size = value["mediaType"], value["digest"], value["size"]
        except (TypeError, KeyError) as error:
            raise ImageError("not an OCI descriptor", where=where, found=json.dumps(value)[:100]) from error
        if not (is_digest(digest) and isinstance(size, int) and size >= 0):
            raise ImageError(
                "not an OCI descriptor with a sha256 digest and a size", where=where, found=f"{digest!r}, {size!r}"
            )
        return cls(DOCKER_EQUIVALENTS.get(media_type, str(media_type)), digest, size)

    def to_json(self) -> dict[str, object]:
        """Give the descriptor as it stands in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


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


def parse_object(content: bytes, where: object) -> dict[str, Any]:
    """Read the JSON object that a manifest, a config or an index is; raise `ImageError` for anything else."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ImageError("not a part of an image", where=where, expected="a JSON object", found=f"{content[:40]!a}")
    return value


def single_image(index: Any, where: object) -> Descriptor:
    """Return the descriptor of the one image that an ``index.json`` names."""
    images = index.get("manifests", []) if isinstance(index, dict) else []
    if len(images) != 1:
        raise ImageError("not a layout of one image", where=where, expected="1 image", found=len(images))
    return Descriptor.parse(images[0], where=where)


def checked(content: bytes, digest: str, where: object) -> bytes:
    """Return ``content`` if it has this digest; raise `ImageError` if not."""
    found = digest_of(content)
    if found != digest:
        raise ImageError(
            "damaged: the bytes are not those that the digest names", where=where, expected=digest, found=found
        )
    return content
