"""The SBOM of an image: what is in it, as CycloneDX 1.6 (ECMA-424).

The base with its packages, the import program file by file, and the dataset, or the model, with licence and digest. It
has no time but the image's own and nothing about the machine: the same image gives the same bytes.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from datapack import __version__
from datapack.catalog.licences import licences_of, may_be_public
from datapack.files import atomic_writer
from datapack.image.config import CREATED
from datapack.image.layers import PROGRAMS
from datapack.image.stand_in import STAND_IN
from datapack.metadata.packages import read_system
from datapack.oci.blob import Blob
from datapack.oci.named_sbom import SBOM
from datapack.oci.spec import CYCLONEDX, Descriptor, canonical_json
from datapack.registry.referrers import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.bag.model_facts import ModelFacts
    from datapack.catalog.model import Entry
    from datapack.image.base import Base
    from datapack.image.config import Image
    from datapack.image.layers import Layer
    from datapack.metadata.packages import System

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://datapack.github.io/sbom")
_PREFIX = "io.github.datapack"  # of properties


def sbom(
    entry: Entry, base: Base, bag: Bag, image: Image, layers: Sequence[Layer], facts: ModelFacts | None = None
) -> bytes:
    """Return the SBOM of an image.

    Args:
        entry: the version in the catalog.
        base: the base image, whose layers are read.
        bag: the version's bag.
        image: the image.
        layers: the layers above the base, lowest first.
        facts: what a model is; None for other data.
    """
    system = read_system(base)
    packages = [_package(number, one) for number, one in enumerate(system.packages)]
    installed = [one["bom-ref"] for one in packages]
    inside = _system(system) if system.id and system.version else []
    program = [] if image.runnable else [_program(layers)]
    parts = [_base(base, system), *program, _data(entry, bag, facts)]
    depends = {"image": [part["bom-ref"] for part in parts], "base": ["system"] if inside else installed}
    if inside:
        depends["system"] = installed
    return canonical_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": uuid.uuid5(_NAMESPACE, image.digest).urn,
            "version": 1,
            "metadata": {
                "timestamp": CREATED,
                "tools": {"components": [{"type": "application", "name": "datapack", "version": __version__}]},
                "component": _image(image),
            },
            "components": [*parts, *inside, *packages],
            "dependencies": [{"ref": ref, "dependsOn": refs} for ref, refs in depends.items()],
        }
    )


def artifact(content: bytes) -> Artifact:
    """Return an SBOM as something to attach to its image."""
    title = {"org.opencontainers.image.title": SBOM}
    layer = {**Descriptor.of(CYCLONEDX, content).to_json(), "annotations": title}
    return Artifact("SBOM", CYCLONEDX, (layer,), (Blob.of(CYCLONEDX, content),), title)


def write(provenance: Path, content: bytes) -> Path:
    """Write an SBOM beside the provenance of its image; return its path."""
    path = provenance.with_name(f"{provenance.name.removesuffix('.provenance.json')}.cdx.json")
    if not (path.is_file() and path.read_bytes() == content):
        with atomic_writer(path) as file:
            file.write(content)
    return path


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _licences(text: str) -> dict[str, Any]:
    """Return a licence: an SPDX expression, or its name if it is none."""
    if not text:
        return {}
    return {"licenses": [{"expression": text} if licences_of(text) else {"license": {"name": text}}]}


def _image(image: Image) -> dict[str, Any]:
    name, _, version = image.tag.partition(":")
    found = {"type": "container", "bom-ref": "image", "name": name, "version": version}
    return {**found, "hashes": _hashes(image.digest)}


def _base(base: Base, system: System) -> dict[str, Any]:
    """Return the base; one on disk has no name, as where it is must not matter."""
    name = "base" if base.is_on_disk else base.name
    facts = {STAND_IN: "true"} if base.is_stand_in else {}
    if not system.is_read:
        facts[f"{_PREFIX}.packages"] = "not read: a layer can't be unpacked"
    properties = [{"name": key, "value": value} for key, value in facts.items()]
    found = {"type": "container", "bom-ref": "base", "name": name, "version": base.digest}
    return {**found, "hashes": _hashes(base.digest), **({"properties": properties} if properties else {})}


def _system(system: System) -> list[dict[str, Any]]:
    return [{"type": "operating-system", "bom-ref": "system", "name": system.id, "version": system.version}]


def _package(number: int, package: Any) -> dict[str, Any]:
    found = {"type": "library", "bom-ref": f"package-{number}", "name": package.name, "version": package.version}
    return {**found, "purl": package.url, **_licences(package.licence)}


def _program(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the import program with its files."""
    files = [
        {"type": "file", "bom-ref": f"/{one.name}", "name": f"/{one.name}", "hashes": _hashes(one.sha256)}
        for one in layers[0].members
        if one.name in PROGRAMS
    ]
    found = {"type": "application", "bom-ref": "program", "name": "datapack import", "version": __version__}
    return {**found, **_licences("Apache-2.0"), "components": files}


def _data(entry: Entry, bag: Bag, facts: ModelFacts | None) -> dict[str, Any]:
    """Return the dataset or the model; its hash is the dataset digest, that of its list of files."""
    dataset, name = entry.dataset, entry.reference.name
    found: dict[str, Any] = {
        "type": "machine-learning-model" if facts else "data",
        "bom-ref": "dataset",
        "name": name,
        "version": entry.reference.version,
        "description": dataset.title,
        "hashes": _hashes(bag.manifest.digest),
        **_licences((facts.licence if facts else None) or dataset.licence),
        "properties": [
            {"name": f"{_PREFIX}.dataset.digest", "value": bag.manifest.digest},
            {"name": f"{_PREFIX}.dataset.files", "value": str(bag.files)},
            {"name": f"{_PREFIX}.dataset.bytes", "value": str(bag.bytes)},
        ],
    }
    if dataset.publisher:
        found["publisher"] = dataset.publisher
        found["supplier"] = {"name": dataset.publisher}
    if dataset.homepage:
        found["externalReferences"] = [{"type": "website", "url": dataset.homepage}]
    if facts:
        found["modelCard"] = _model_card(facts)
    else:
        found["data"] = [{"type": "dataset", "classification": "public" if may_be_public(dataset) else "private"}]
    return found


def _model_card(facts: ModelFacts) -> dict[str, Any]:
    """Return what ``model.json`` says."""
    parameters: dict[str, Any] = {"task": "object-detection", "modelArchitecture": facts.architecture}
    if facts.trained_on:
        parameters["datasets"] = [{"type": "dataset", "name": facts.trained_on.label}]
    card: dict[str, Any] = {"modelParameters": parameters}
    if facts.metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": [*_metrics(facts)]}
    return card


def _metrics(facts: ModelFacts) -> Iterator[dict[str, str]]:
    for name, value in sorted(facts.metrics.items()):
        yield {"type": name, "value": f"{value:g}"}
