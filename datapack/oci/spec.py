"""The OCI image format: media types, descriptors and the JSON of manifests (image-spec 1.1)."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError
from datapack.hashing import digest_of, is_digest
from datapack.jsonfile import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CYCLONEDX = "application/vnd.cyclonedx+json"  # an SBOM
STATEMENT = "application/vnd.in-toto+json"  # a provenance statement; BuildKit uses this type too
#: Docker's names for the same media types, which Docker Hub and `docker save` still write.
DOCKER_EQUIVALENTS = {
    "application/vnd.docker.distribution.manifest.list.v2+json": INDEX,
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER + "+gzip",
}
REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_FILE = {"imageLayoutVersion": "1.0.0"}


def canonical_json(value: object) -> bytes:
    """Write JSON so that the same value always gives the same bytes: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Descriptor:
    """The reference to one part of an image: media type, digest, and size in bytes."""

    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, media_type: str, content: bytes) -> Descriptor:
        """Describe some bytes."""
        return cls(media_type, digest_of(content), len(content))

    @classmethod
    def parse(cls, value: Any, where: object) -> Descriptor:
        """Read a descriptor and replace Docker's media types by OCI's; raise `ImageError` for anything else."""
        try:
            media_type, digest, size = value["mediaType"], value["digest"], value["size"]
        except (TypeError, KeyError) as error:
            raise ImageError("not an OCI descriptor", where=where, found=reprlib.repr(value)) from error
        if not (isinstance(media_type, str) and is_digest(digest) and type(size) is int and size >= 0):
            raise ImageError(
                "not an OCI descriptor with a media type, a sha256 digest and a size",
                where=where,
                found=reprlib.repr(value),
            )
        check_spelling(value, ("mediaType", "digest", "size"), where)
        return cls(DOCKER_EQUIVALENTS.get(media_type, media_type), digest, size)

    def to_json(self) -> dict[str, object]:
        """Return the descriptor as a manifest contains it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def parse_object(content: bytes, where: object) -> dict[str, Any]:
    """Read a manifest, a config or an index: a JSON object; raise `ImageError` for anything else."""
    try:
        value = parse_json(content, where, ImageError)
    except ImageError as error:
        expected, found = "a JSON object", error.found or f"{content[:40]!a}"
        raise ImageError("not a part of an image", where=where, expected=expected, found=found) from error
    if not isinstance(value, dict):
        raise ImageError("not a part of an image", where=where, expected="a JSON object", found=f"{content[:40]!a}")
    return value


def check_spelling(value: Mapping[str, Any], keys: Iterable[str], where: object) -> None:
    """Raise `ImageError` if one of the keys is there in another case: to engines, written in Go, it is the same key."""
    known = {key.casefold(): key for key in keys}
    for key in value:
        if known.get(key.casefold(), key) != key:
            expected = known[key.casefold()]
            raise ImageError("engines read this key differently", where=where, expected=expected, found=f"{key!a}")


def checked(content: bytes, digest: str, where: object) -> bytes:
    """Return ``content`` if it has this digest; raise `ImageError` if not."""
    found = digest_of(content)
    if found != digest:
        raise ImageError("damaged: the bytes do not match the digest", where=where, expected=digest, found=found)
    return content
