"""Referrers (OCI distribution-spec 1.1): what is attached to an image, such as its provenance or a signature.

A registry that keeps the list of an image's referrers says so when it stores one. For any other registry the client
keeps the list under a tag, ``sha256-<hex>``, as the specification asks. ``oras discover`` and ``cosign tree`` read
both.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError, MismatchError
from datapack.hashing import digest_of
from datapack.oci.blob import Blob
from datapack.oci.boundary import boundary
from datapack.oci.image import read_json, read_part
from datapack.oci.spec import INDEX, MANIFEST, STATEMENT, Descriptor, canonical_json, parse_object

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sized

    from datapack.registry.image import RemoteImage
    from datapack.registry.name import ImageName
    from datapack.registry.repository import Repository

_PREDICATE_TYPE = "in-toto.io/predicate-type"
_NEW_INDEX = {"schemaVersion": 2, "mediaType": INDEX}
_TRIES = 10
_LONGEST_PAUSE = 5.0  # seconds
_MOST = 100  # statements, or signatures, that are read
_SHOWN = 400  # letters of the images that a statement names
#: The two bytes that are the config of everything attached.
EMPTY = Blob.of("application/vnd.oci.empty.v1+json", b"{}")


@dataclass(frozen=True)
class Artifact:
    """What can be attached to an image."""

    name: str  # for people
    type: str  # the media type that says what it is
    layers: tuple[dict[str, Any], ...]  # descriptors, which may have annotations
    blobs: tuple[Blob, ...]  # those of them that the registry may not have yet
    annotations: Mapping[str, str]
    config: Blob = EMPTY

    def manifest(self, subject: Descriptor) -> bytes:
        """Return the manifest that attaches it to an image."""
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": self.type,
                "config": self.config.descriptor(self.config.digest).to_json(),
                "layers": list(self.layers),
                "subject": subject.to_json(),
                "annotations": dict(self.annotations),
            }
        )


def provenance(statement: bytes) -> Artifact:
    """Return an in-toto statement, canonical JSON, as something to attach."""
    annotations = {_PREDICATE_TYPE: json.loads(statement)["predicateType"]}
    named = {**annotations, "org.opencontainers.image.title": "provenance.json"}
    layer = {**Descriptor.of(STATEMENT, statement).to_json(), "annotations": named}
    return Artifact("provenance", STATEMENT, (layer,), (Blob.of(STATEMENT, statement),), annotations)


def attach(repository: Repository, subject: Descriptor, artifact: Artifact) -> str:
    """Attach something to an image; return the digest of the manifest that attaches it.

    The same artifact is attached to the same image only once, however often this is called.

    Args:
        repository: where the image is.
        subject: the image's manifest.
        artifact: what to attach.
    """
    manifest = artifact.manifest(subject)
    descriptor = Descriptor.of(MANIFEST, manifest)
    for blob in (artifact.config, *artifact.blobs):
        repository.upload(blob)
    answer = repository.put_manifest(manifest, MANIFEST, descriptor.digest)
    if answer.headers.get("OCI-Subject") != subject.digest:
        entry = {**descriptor.to_json(), "artifactType": artifact.type, "annotations": dict(artifact.annotations)}
        with boundary(f"{repository.name.path}:{_tag(subject.digest)}"):
            _add_to_tag(repository, subject.digest, entry)
    return descriptor.digest


def _add_to_tag(repository: Repository, subject: str, entry: dict[str, Any]) -> None:
    """Add an entry to the list that clients keep under a tag.

    No registry can be relied on to refuse a list that was made from an old one. So we read the list again after as long
    as another push needs between reading it and writing it, and write what got lost again.
    """
    tag, needed, calm = _tag(subject), {entry["digest"]: entry}, True
    for _ in range(_TRIES):
        began = time.monotonic()
        index = _read_tag(repository, subject) or _NEW_INDEX
        found = {other["digest"]: other for other in _entries(index)}
        missing = needed.keys() - found.keys()
        if calm and not missing:  # nobody changed it meanwhile, or our entry was there at once
            return
        calm, needed = not missing, {**found, **needed}
        if missing:
            repository.send_manifest(canonical_json({**index, "manifests": [*needed.values()]}), INDEX, tag)
        took = min(_LONGEST_PAUSE, time.monotonic() - began)
        time.sleep(took * random.uniform(1, 3))  # noqa: S311 - not a secret
    raise ImageError(
        "the registry loses entries that are added to the image's list of attachments",
        where=f"{repository.name.path}:{tag}",
        fix="check whether somebody else changes it",
    )


def _read_tag(repository: Repository, subject: str) -> dict[str, Any] | None:
    """Return the index under the tag, or None if there is none.

    GitLab resolves the tag to the image itself, as long as there is no such tag.

    Raises:
        ImageError: something else is there.
    """
    content, where = repository.find_manifest(_tag(subject)), f"{repository.name.path}:{_tag(subject)}"
    if content is None or digest_of(content) == subject:
        return None
    index = parse_object(content, where)
    if not isinstance(index.get("manifests", []), list | None) or index.get("mediaType", INDEX) != INDEX:
        raise ImageError("this is not the image's list of attachments", where=where)
    return index


def _entries(index: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of an index that are descriptors at all: anyone may have written it."""
    entries = [entry for entry in _list(index.get("manifests")) if isinstance(entry, dict)]
    return [entry for entry in entries if isinstance(entry.get("digest"), str)]


def statements(image: RemoteImage) -> list[bytes]:
    """Return the in-toto statements that are attached to an image, each checked against its own digest."""
    entries = _attached(image, {STATEMENT})
    layers = [layer for entry in entries for layer in _list(read_json(image, entry).get("layers"))]
    _check_number(layers, image)
    return [read_part(image, Descriptor.parse(layer, image.repository.name)) for layer in layers]


def find_layers(image: RemoteImage, media_type: str) -> list[Descriptor]:
    """Return the parts of one media type that are attached to an image; anyone may have attached them.

    cosign gives the entries in its own lists the type of the config, which is that of nothing.
    """
    entries = _attached(image, {media_type, EMPTY.media_type, None})
    layers = [layer for entry in entries for layer in _list(read_json(image, entry).get("layers"))]
    found = [Descriptor.parse(layer, image.repository.name) for layer in layers if _has_type(layer, media_type)]
    _check_number(found, image)
    return found


def _has_type(layer: Any, media_type: str) -> bool:
    return isinstance(layer, dict) and layer.get("mediaType") == media_type


def _attached(image: RemoteImage, types: Collection[str | None]) -> list[Descriptor]:
    """Return the manifests that attach something of these types to an image."""
    repository, subject = image.repository, image.image().digest
    listed = repository.find_referrers(subject)
    index = (_read_tag(repository, subject) or {}) if listed is None else {"manifests": listed}
    entries = {entry["digest"]: entry for entry in _entries(index) if entry.get("artifactType") in types}
    _check_number(entries, image)
    return [Descriptor.parse(entry, repository.name) for entry in entries.values()]


def _check_number(found: Sized, image: RemoteImage) -> None:
    if len(found) > _MOST:
        what, expected = "too many statements are attached to the image", f"at most {_MOST}"
        raise ImageError(what, where=image.repository.name, expected=expected, found=len(found))


def check_statements(image: RemoteImage) -> int:
    """Return how many statements are attached to an image; raise `MismatchError` if one is about another image."""
    digest, name = image.image().digest, image.repository.name
    with boundary(name):
        attached = statements(image)
        for statement in attached:
            _check_subject(statement, digest, name)
    return len(attached)


def _check_subject(statement: bytes, digest: str, name: ImageName) -> None:
    subjects = _list(parse_object(statement, where=name).get("subject"))
    named = [f"sha256:{_object(_object(subject).get('digest')).get('sha256')}" for subject in subjects]
    if digest not in named:
        what = "the attached provenance describes another image"
        raise MismatchError(what, where=name, expected=digest, found=", ".join(named)[:_SHOWN])


def _list(value: Any) -> list[Any]:
    """Return a list from a part that anyone may have written, empty if it is something else."""
    return value if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object from such a part, empty if it is something else."""
    return value if isinstance(value, dict) else {}


def _tag(digest: str) -> str:
    return digest.replace(":", "-")
