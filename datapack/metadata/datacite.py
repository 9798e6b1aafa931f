"""DataCite metadata (schema 4.5) as JSON: what a repository asks for before it gives a dataset a DOI.

The DOI itself is missing: it is added when the dataset is registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datapack.metadata.facts import DatasetFacts, Party

SCHEMA = "http://datacite.org/schema/kernel-4"
_SPDX = {"rightsIdentifierScheme": "SPDX", "schemeUri": "https://spdx.org/licenses/"}
_METHODS = ("collection", "preprocessing", "annotation")  # keys of responsible_ai


def datacite(facts: DatasetFacts, *, is_model: bool = False) -> dict[str, Any]:
    """Return the document; the facts have everything that the schema requires."""
    known = {
        "schemaVersion": SCHEMA,
        "types": {"resourceTypeGeneral": "Model" if is_model else "Dataset", "resourceType": "BagIt bag"},
        "creators": [_person(party) for party in facts.creators],
        "titles": [{"title": facts.title}, {"title": facts.name, "titleType": "AlternativeTitle"}],
        "publisher": {"name": facts.publisher},
        "publicationYear": facts.year,
        "version": facts.version,
        "url": facts.homepage,
        "subjects": [{"subject": word} for word in facts.keywords],
        "contributors": [{"name": facts.contact_name, "contributorType": "ContactPerson"}] if facts.contact else [],
        "dates": [{"date": facts.published, "dateType": "Issued"}],
        "alternateIdentifiers": _identifiers(facts),
        "relatedIdentifiers": [
            {
                "relatedIdentifier": related.value,
                "relatedIdentifierType": related.kind,
                "relationType": "IsDerivedFrom",
            }
            for related in facts.related
        ],
        "sizes": [f"{facts.bytes} B", f"{facts.files} files"],
        "formats": [kind.media_type for kind in facts.kinds],
        "rightsList": [*_rights(facts), {"rights": facts.access}],
        "descriptions": _descriptions(facts),
    }
    return {key: value for key, value in known.items() if value not in ("", [])}


def _person(party: Party) -> dict[str, Any]:
    found: dict[str, Any] = {"name": party.name, "nameType": "Personal" if party.is_person else "Organizational"}
    family, comma, given = party.name.partition(",")
    if party.is_person and comma:
        found |= {"familyName": family.strip(), "givenName": given.strip()}
    if party.id:
        scheme = "ORCID" if party.is_person else "ROR"
        uri = "https://orcid.org/" if party.is_person else "https://ror.org/"
        found["nameIdentifiers"] = [{"nameIdentifier": party.id, "nameIdentifierScheme": scheme, "schemeUri": uri}]
    if party.affiliation:
        found["affiliation"] = [{"name": party.affiliation}]
    return found


def _identifiers(facts: DatasetFacts) -> list[dict[str, str]]:
    known = {"URN": facts.identifier, "dataset digest": facts.digest, "image digest": facts.image}
    return [{"alternateIdentifier": value, "alternateIdentifierType": kind} for kind, value in known.items() if value]


def _rights(facts: DatasetFacts) -> list[dict[str, str]]:
    if not facts.licences:
        return [{"rights": facts.licence}]
    return [
        {"rights": licence.id, "rightsUri": licence.url, "rightsIdentifier": licence.id.lower(), **_SPDX}
        for licence in facts.licences
    ]


def _descriptions(facts: DatasetFacts) -> list[dict[str, str]]:
    """Return what is said of the dataset; of two answers with the same words only one, as the schema wants it."""
    kinds = {text: "Methods" if key in _METHODS else "Other" for key, text in facts.responsible_ai.items()}
    return [
        {"description": text, "descriptionType": kind}
        for text, kind in {**kinds, facts.description: "Abstract"}.items()
    ][::-1]
