"""Referrers (OCI distribution-spec 1.1): what is attached to an image, such as its provenance.

A registry that keeps the list of an image's referrers says so when it stores one. For any other registry the client
keeps the list under a tag, ``sha256-<hex>``, as the specification asks. ``oras discover`` and ``cosign tree`` read
both.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError, MismatchError
from datapack.oci.blob import Blob
from datapack.oci.image import read_json, read_part
from datapack.oci.spec import INDEX, MANIFEST, STATEMENT, Descriptor, canonical_json, parse_object

if TYPE_CHECKING:
    from datapack.registry.image import RemoteImage
    from datapack.registry.repository import Repository

_PREDICATE_TYPE = "in-toto.io/predicate-type"
_NEW_INDEX = {"schemaVersion": 2, "mediaType": INDEX}
_EMPTY, _EMPTY_TYPE = b"{}", "application/vnd.oci.empty.v1+json"


def attach(repository: Repository, subject: Descriptor, statement: bytes) -> str:
    """Attach an in-toto statement to an image; return the digest of the manifest that attaches it.

    The same statement is attached to the same image only once, however often this is called.

    Args:
        repository: where the image is.
        subject: the image's manifest.
        statement: canonical JSON.
    """
    annotations = {_PREDICATE_TYPE: json.loads(statement)["predicateType"]}
    manifest = _artifact(subject, statement, annotations)
    descriptor = Descriptor.of(MANIFEST, manifest)
    repository.upload(Blob.of(_EMPTY_TYPE, _EMPTY))
    repository.upload(Blob.of(STATEMENT, statement))
    response = repository.put_manifest(manifest, MANIFEST, descriptor.digest)
    if response.headers.get("OCI-Subject") != subject.digest:
        entry = {**descriptor.to_json(), "artifactType": STATEMENT, "annotations": annotations}
        _add_to_tag(repository, subject, entry)
    return descriptor.digest


def _artifact(subject: Descriptor, statement: bytes, annotations: dict[str, str]) -> bytes:
    """Return the manifest that attaches a statement to an image."""
    named = {**annotations, "org.opencontainers.image.title": "provenance.json"}
    layer = {**Descriptor.of(STATEMENT, statement).to_json(), "annotations": named}
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": STATEMENT,
            "config": Descriptor.of(_EMPTY_TYPE, _EMPTY).to_json(),
            "layers": [layer],
            "subject": subject.to_json(),
            "annotations": annotations,
        }
    )


def _add_to_tag(repository: Repository, subject: Descriptor, entry: dict[str, Any]) -> None:
    tag = _tag(subject.digest)
    found = repository.find_manifest(tag)
    entries = _entries(found, where=f"{repository.name.path}:{tag}") if found else []
    if entry["digest"] not in [other.get("digest") for other in entries]:
        index = {**(json.loads(found) if found else _NEW_INDEX), "manifests": [*entries, entry]}
        repository.put_manifest(canonical_json(index), INDEX, tag)


def statements(image: RemoteImage) -> list[bytes]:
    """Return the in-toto statements that are attached to an image, each checked against its own digest."""
    repository, subject = image.repository, image.image().digest
    found = repository.find_referrers(subject) or repository.find_manifest(_tag(subject))
    entries = _entries(found, where=repository.name) if found else []
    ours = [Descriptor.parse(entry, repository.name) for entry in entries if entry.get("artifactType") == STATEMENT]
    layers = [layer for entry in ours for layer in _list(read_json(image, entry).get("layers"))]
    return [read_part(image, Descriptor.parse(layer, repository.name)) for layer in layers]


def check_statements(image: RemoteImage) -> int:
    """Return how many statements are attached to an image; raise `MismatchError` if one is about another image."""
    digest, name = image.image().digest, image.repository.name
    attached = statements(image)
    for statement in attached:
        subjects = _list(parse_object(statement, where=name).get("subject"))
        named = [f"sha256:{_object(_object(subject).get('digest')).get('sha256')}" for subject in subjects]
        if digest not in named:
            what = "the attached provenance describes another image"
            raise MismatchError(what, where=name, expected=digest, found=", ".join(named))
    return len(attached)


def _entries(index: bytes, where: object) -> list[dict[str, Any]]:
    """Return the entries of an index; raise `ImageError` for anything else."""
    entries = parse_object(index, where).get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ImageError("this is not the list of what is attached to the image", where=where)
    return entries


def _list(value: Any) -> list[Any]:
    """Return a list from a part that anyone may have written, empty if it is something else."""
    return value if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object from such a part, empty if it is something else."""
    return value if isinstance(value, dict) else {}


def _tag(digest: str) -> str:
    return digest.replace(":", "-")
