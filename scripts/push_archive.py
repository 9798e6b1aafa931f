"""Push an image from an archive into a registry, unchanged, and attach its SBOM to it there.

`docker push` and `skopeo copy` would compress the layers anew, and the image would get another digest than the one that
was scanned. The code that `datapack push` uses sends every byte as it is, and resumes what was cut.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datapack.errors import ImageError, MismatchError
from datapack.hashing import digest_of
from datapack.image.base import PLATFORM
from datapack.metadata.sbom import artifact
from datapack.oci.archive import Archive
from datapack.oci.blob import Blob
from datapack.oci.image import read_image, read_part
from datapack.oci.named_sbom import FoundSbom, check_sboms
from datapack.oci.spec import MANIFEST, Descriptor
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.referrers import attach, statements
from datapack.targets.registry import refuse_stand_in

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.oci.blob import Blocks, Observer

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """A part of an archive as the content of a blob, checked while it is read."""

    archive: Archive
    descriptor: Descriptor

    def blocks(self, observer: Observer) -> Blocks:
        """Yield its bytes; raise `ImageError` if they have another digest."""
        digest = hashlib.sha256()
        observer.start()
        with self.archive.open(self.descriptor) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                yield block
                observer.advance(len(block))
        found = f"sha256:{digest.hexdigest()}"
        if found != self.descriptor.digest:
            where, expected = self.archive.locate(self.descriptor), self.descriptor.digest
            raise ImageError("damaged: the bytes do not match the digest", where=where, expected=expected, found=found)
        return found


def push_archive(path: Path, name: ImageName, *, insecure: bool = False) -> str:
    """Push the image of an archive under a tag that is free, or that has this image already; return its digest.

    Raises:
        ImageError: the archive is damaged, or the registry refuses it.
        MismatchError: the tag names another image, which somebody may have approved.
        UsageError: the image is for tests only and the registry is on another machine.
    """
    archive = Archive.find(path)
    image = read_image(archive, archive.image(), path, PLATFORM)
    refuse_stand_in(image.labels, name.registry)
    repository = Repository(RegistryClient(name, actions="pull,push", insecure=insecure))
    repository.check_access()
    there = repository.find_manifest(name.tag)
    if there is not None and digest_of(there) != image.descriptor.digest:
        raise MismatchError(
            "the registry has another image of this name",
            where=name,
            expected=image.descriptor.digest,
            found=digest_of(there),
            fix="give the image a new version: ARG ..._VERSION in its Dockerfile",
        )
    for part in (*image.layers, Descriptor.parse(image.manifest["config"], path)):
        repository.upload(Blob(part.media_type, part.size, part.digest, Part(archive, part)))
    manifest = read_part(archive, image.descriptor)
    repository.put_manifest(manifest, str(image.manifest.get("mediaType", MANIFEST)), name.tag)
    return image.descriptor.digest


def attach_sbom(sbom: Path, name: ImageName, *, insecure: bool = False) -> str:
    """Attach an SBOM to an image in a registry; return the digest of the manifest that attaches it.

    Args:
        sbom: the file, CycloneDX as JSON.
        name: the image's name, with its digest.
        insecure: accept a registry without TLS.

    Raises:
        ImageError: the file is no such SBOM, or the registry refuses it.
        MismatchError: it is not the one that the provenance names, which is attached to the image.
    """
    content = sbom.read_bytes()
    if json.loads(content).get("bomFormat") != "CycloneDX":
        raise ImageError("not an SBOM", where=sbom, expected="CycloneDX in JSON")
    repository = Repository(RegistryClient(name, actions="pull,push", insecure=insecure))
    image = RemoteImage.find(repository)
    subject = image.image()
    check_sboms(subject.digest, statements(image), [FoundSbom(str(sbom), digest_of(content))])
    return attach(repository, replace(subject, media_type=subject.media_type or MANIFEST), artifact(content))
