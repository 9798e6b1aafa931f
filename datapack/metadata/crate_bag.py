"""The crate as a BagIt bag, with sha512 manifests, as the Five Safes profile wants it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from datapack.bag.bagit import BAGIT, DECLARATION, IDENTIFIER, INFO, OXUM
from datapack.bag.listing import list_payload
from datapack.bag.manifest import PAYLOAD, sorted_by_bytes
from datapack.files import atomic_writer
from datapack.hashing import hash_file
from datapack.image.layers import program_layer
from datapack.metadata.ro_crate import METADATA, WORKFLOW, manifest_name, ro_crate, workflow_crate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from datapack.metadata.facts import DatasetFacts

MANIFEST, TAG_MANIFEST = "manifest-sha512.txt", "tagmanifest-sha512.txt"


def write_crate(folder: Path, facts: DatasetFacts, payload: Iterable[bytes] | None) -> None:
    """Write a new folder with the crate.

    Args:
        folder: where to; it must not exist.
        facts: the facts of the dataset.
        payload: the lines of the sha512 manifest of the dataset's payload, if the crate is to have one.
    """
    data = folder / PAYLOAD
    (data / WORKFLOW).mkdir(parents=True)
    size = None
    if payload is not None:
        size = _write(data / manifest_name(facts), payload)
    _write(data / METADATA, [_json(ro_crate(facts, size))])
    programs = {
        member.name.rpartition("/")[2]: member.source
        for member in program_layer().members
        if isinstance(member.source, bytes)
    }
    for name, content in programs.items():
        _write(data / WORKFLOW / name, [content])
    _write(data / WORKFLOW / METADATA, [_json(workflow_crate(facts, programs))])
    listing = list_payload(folder)
    info = {
        IDENTIFIER: facts.urn("crate"),
        "External-Description": f"The request to bring {facts.name} into a Trusted Research Environment",
        "Source-Organization": facts.publisher,
        OXUM: f"{listing.size}.{len(listing.files)}",
    }
    _write(folder / DECLARATION, [BAGIT])
    _write(folder / INFO, _fields(info))
    _write(folder / MANIFEST, _manifest(folder, listing.files))
    _write(folder / TAG_MANIFEST, _manifest(folder, (DECLARATION, INFO, MANIFEST)))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _fields(fields: Mapping[str, str]) -> Iterable[bytes]:
    return (f"{name}: {' '.join(value.split())}\n".encode() for name, value in sorted(fields.items()) if value)


def _manifest(folder: Path, paths: Iterable[str]) -> Iterable[bytes]:
    for path in sorted_by_bytes(paths):
        yield f"{hash_file(folder / path, algorithm='sha512')}  {path}\n".encode()


def _write(path: Path, parts: Iterable[bytes]) -> int:
    """Write a file; return its size in bytes."""
    with atomic_writer(path) as file:
        file.writelines(parts)
    return path.stat().st_size
