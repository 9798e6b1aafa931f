"""RO-Crate 1.2 (https://w3id.org/ro/crate/1.2), with the Five Safes profile 0.4 if the catalog says who asks.

The crate is the request to bring the dataset into a Trusted Research Environment, as the profile understands it: the
workflow is the import, its input is the dataset, and the agent is the person who asks, for a project. The dataset is
named by its URN, and not part of the crate: the import container carries it, and its digest fixes every byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from datapack.image.config import ENTRYPOINT
from datapack.metadata.schema_org import party_of
from datapack.oci.spec import MANIFEST as IMAGE_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from datapack.metadata.facts import DatasetFacts, Party

METADATA = "ro-crate-metadata.json"
WORKFLOW = "workflow/"
IMPORT = ENTRYPOINT[0].rpartition("/")[2]
CRATE, CRATE_FOR_WORKFLOWS = "https://w3id.org/ro/crate/1.2", "https://w3id.org/ro/crate/1.1"
PROJECT = "#project"
FIVE_SAFES = "https://w3id.org/5s-crate/0.4"
WORKFLOW_PROFILE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_ANY_CRATE = "https://w3id.org/ro/crate"
_SHELL = "https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html"

Entity = dict[str, Any]
_APACHE: Entity = {  # the licence of datapack
    "@id": "https://spdx.org/licenses/Apache-2.0",
    "@type": "CreativeWork",
    "name": "Apache-2.0",
    "description": "The licence Apache-2.0 of the SPDX License List",
}


def ro_crate(facts: DatasetFacts, manifest: int | None) -> Entity:
    """Return the crate's metadata.

    Args:
        facts: the facts of the dataset.
        manifest: the size in bytes of the sha512 manifest of the dataset's payload, if the crate has one.
    """
    dataset, parties = facts.identifier, _Parties(facts)
    parts = [dataset, WORKFLOW, *([manifest_name(facts)] if manifest is not None else [])]
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Import of {facts.name}: {facts.title}",
        "description": f"The request to bring {facts.name} into a Trusted Research Environment. {facts.description}",
        "identifier": facts.urn("crate"),
        "datePublished": facts.published,
        "license": _refer(licence["@id"] for licence in _licences(facts)),
        "publisher": parties.publisher,
        "hasPart": _refer(parts),
        "mainEntity": {"@id": WORKFLOW},
        "mentions": {"@id": _action_id(facts)},
        "sourceOrganization": _refer([PROJECT]) if facts.project else None,
        "conformsTo": {"@id": FIVE_SAFES} if is_five_safes(facts) else None,
    }
    entities = [root, _dataset(facts, parties), *_image(facts), *_workflow(facts), _action(facts, parties)]
    if manifest is not None:
        entities.append(_manifest(facts, manifest))
    if is_five_safes(facts):
        profile = {"@id": FIVE_SAFES, "@type": ["CreativeWork", "Profile"], "name": "Five Safes RO-Crate profile"}
        entities += [profile, {"@id": PROJECT, "@type": "Project", "name": facts.project}]
    return _document(CRATE, [*entities, *_licences(facts), *parties.entities])


def is_five_safes(facts: DatasetFacts) -> bool:
    """Whether the facts answer what the Five Safes profile requires: who asks, and for which project."""
    return bool(facts.requester and facts.project)


def manifest_name(facts: DatasetFacts) -> str:
    """Return the name of the sha512 manifest of the dataset's payload."""
    return f"{facts.reference.name}-{facts.version}-manifest-sha512.txt"


def workflow_crate(facts: DatasetFacts, programs: Iterable[str]) -> Entity:
    """Return the metadata of the workflow's own crate, which the Five Safes profile requires: the import program.

    Args:
        facts: the facts of the dataset.
        programs: the names of the program's files.
    """
    others = [name for name in programs if name != IMPORT]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "datapack's import",
        "description": "Copies the dataset from the import container to /safe_outputs, and verifies every byte there.",
        "datePublished": facts.published,
        "license": {"@id": _APACHE["@id"]},
        "conformsTo": {"@id": WORKFLOW_PROFILE},
        "hasPart": _refer([IMPORT, *others]),
        "mainEntity": {"@id": IMPORT},
    }
    program = {
        "@id": IMPORT,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "import",
        "description": "The program that the import container starts.",
        "encodingFormat": "application/x-sh",
        "programmingLanguage": {"@id": _SHELL},
    }
    scripts = [
        {
            "@id": name,
            "@type": ["File", "SoftwareSourceCode"],
            "name": name,
            "description": "A part of the program.",
            "encodingFormat": "application/x-sh",
            "programmingLanguage": {"@id": _SHELL},
        }
        for name in others
    ]
    language = {
        "@id": _SHELL,
        "@type": "ComputerLanguage",
        "name": "POSIX shell",
        "url": {"@id": _SHELL},
        "version": "POSIX.1-2024",
    }
    profile = {"@id": WORKFLOW_PROFILE, "@type": ["CreativeWork", "Profile"], "name": "Workflow RO-Crate profile"}
    entities: list[Entity] = [root, program, *scripts, language, _APACHE, profile]
    return _document(CRATE_FOR_WORKFLOWS, entities, WORKFLOW_PROFILE)


def _document(version: str, entities: list[Entity], *profiles: str) -> Entity:
    """Return a metadata document: a flat list of entities, with each id once, and nothing that is unknown.

    Args:
        version: of RO-Crate.
        entities: without the one of the document itself.
        profiles: that the document conforms to as well.
    """
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": _refer([version, *profiles]),
    }
    graph: dict[str, Entity] = {}
    for entity in map(_known, (descriptor, *entities)):  # a creator may also be the person who asks
        graph[entity["@id"]] = graph.get(entity["@id"], {}) | entity
    return {"@context": f"{version}/context", "@graph": list(graph.values())}


def _known(entity: Entity) -> Entity:
    """Return an entity without what is unknown, and with a value in place of a list of one."""
    found = {key: value for key, value in entity.items() if value not in ("", None, [])}
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in found.items()}


def _refer(ids: Iterable[str]) -> list[dict[str, str]]:
    return [{"@id": each} for each in ids]


def _action_id(facts: DatasetFacts) -> str:
    return f"#import-{facts.urn('import').removeprefix('urn:uuid:')}"


class _Parties:
    """The people and organisations of the crate, each an entity with an id of its own."""

    def __init__(self, facts: DatasetFacts) -> None:
        self.entities: list[Entity] = []
        self.creators = [self._add(party, f"#creator-{place}") for place, party in enumerate(facts.creators, start=1)]
        publisher = {"@id": "#publisher", "@type": "Organization", "name": facts.publisher}
        self.publisher = {"@id": "#publisher"} if facts.publisher else None
        self.entities += [publisher] if facts.publisher else []
        self.requester = self._add(facts.requester, "#requester", PROJECT) if facts.requester else None

    def _add(self, party: Party, name: str, member_of: str = "") -> dict[str, str]:
        entity = {"@id": name, **party_of(party)}
        if party.affiliation:
            place = f"#affiliation-{quote(party.affiliation, safe='')}"
            self.entities.append({"@id": place, **entity["affiliation"]})
            entity["affiliation"] = {"@id": place}
        self.entities.append({**entity, "memberOf": _refer([member_of]) if member_of else None})
        return {"@id": entity["@id"]}


def _dataset(facts: DatasetFacts, parties: _Parties) -> Entity:
    return {
        "@id": facts.identifier,
        "@type": "Dataset",
        "name": facts.title,
        "alternateName": facts.name,
        "description": facts.description,
        "identifier": facts.digest,
        "version": facts.version,
        "creator": parties.creators,
        "publisher": parties.publisher,
        "datePublished": facts.published,
        "keywords": list(facts.keywords),
        "contentSize": f"{facts.bytes} B",
        "conditionsOfAccess": facts.access,
        "isBasedOn": [related.url for related in facts.related],
        "url": facts.homepage,
        "distribution": _refer([_image_id(facts)]) if facts.image else None,
    }


def _image_id(facts: DatasetFacts) -> str:
    return f"pkg:oci/{facts.reference.name}@{quote(facts.image, safe='')}"


def _image(facts: DatasetFacts) -> Iterator[Entity]:
    if facts.image:
        yield {
            "@id": _image_id(facts),
            "@type": "DataDownload",
            "name": f"{facts.name} as an import container",
            "description": "The container image that carries the dataset. Its sha256 is that of its manifest.",
            "encodingFormat": IMAGE_MANIFEST,
            "sha256": facts.image.removeprefix("sha256:"),
        }


def _workflow(facts: DatasetFacts) -> Iterator[Entity]:
    yield {
        "@id": WORKFLOW,
        "@type": "Dataset",
        "name": "datapack's import",
        "description": "Copies the dataset from the import container to /safe_outputs, and verifies every byte there.",
        "license": {"@id": _APACHE["@id"]},
        "datePublished": facts.published,
        "conformsTo": _refer([_ANY_CRATE, WORKFLOW_PROFILE]),
        "hasPart": {"@id": f"{WORKFLOW}{METADATA}"},
        "subjectOf": {"@id": f"{WORKFLOW}{METADATA}"},
    }
    yield {
        "@id": f"{WORKFLOW}{METADATA}",
        "@type": "File",
        "name": "The metadata of the import's own crate",
        "encodingFormat": "application/ld+json",
    }
    yield _APACHE
    yield {"@id": WORKFLOW_PROFILE, "@type": ["CreativeWork", "Profile"], "name": "Workflow RO-Crate profile"}


def _action(facts: DatasetFacts, parties: _Parties) -> Entity:
    return {
        "@id": _action_id(facts),
        "@type": "CreateAction",
        "name": f"Import of {facts.name}",
        "actionStatus": "http://schema.org/PotentialActionStatus",
        "agent": parties.requester,
        "instrument": {"@id": WORKFLOW},
        "object": [{"@id": facts.identifier}],
    }


def _manifest(facts: DatasetFacts, size: int) -> Entity:
    return {
        "@id": quote(manifest_name(facts), safe="/"),
        "@type": "File",
        "name": f"sha512 of every file of {facts.name}",
        "description": "For 'sha512sum -c' in the folder of the dataset's bag.",
        "encodingFormat": "text/plain",
        "contentSize": str(size),
        "about": {"@id": facts.identifier},
    }


def _licences(facts: DatasetFacts) -> list[Entity]:
    if not facts.licences:
        return [{"@id": "#licence", "@type": "CreativeWork", "name": facts.licence, "description": facts.licence}]
    return [
        {
            "@id": each.url,
            "@type": "CreativeWork",
            "name": each.id,
            "identifier": each.id,
            "description": f"The licence {each.id} of the SPDX License List",
        }
        for each in facts.licences
    ]
