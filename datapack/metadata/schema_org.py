"""schema.org's Dataset as JSON-LD: what search engines read in a page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from datapack.metadata.facts import DatasetFacts, Party

# Characters that could end a script element or begin a comment in it, and line ends of JavaScript that JSON allows.
_ESCAPED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def schema_org(facts: DatasetFacts) -> dict[str, Any]:
    """Return the document; what the catalog does not say is left out."""
    licences = [licence.url for licence in facts.licences] or [facts.licence]
    known = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "name": facts.title,
        "alternateName": facts.name,
        "description": facts.description,
        "identifier": [facts.identifier, facts.digest],
        "version": facts.version,
        "license": licences[0] if len(licences) == 1 else licences,
        "url": facts.homepage,
        "creator": [party_of(party) for party in facts.creators],
        "publisher": {"@type": "Organization", "name": facts.publisher} if facts.publisher else "",
        "keywords": list(facts.keywords),
        "datePublished": facts.published,
        "citation": facts.citation,
        "creditText": facts.cite_as,
        "isAccessibleForFree": not facts.private,
        "conditionsOfAccess": facts.access,
        "isBasedOn": [related.url for related in facts.related],
        "size": f"{facts.bytes} B",
        "encodingFormat": [kind.media_type for kind in facts.kinds],
    }
    return {key: value for key, value in known.items() if value not in ("", [])}


def party_of(party: Party) -> dict[str, Any]:
    """Return a person or an organisation."""
    found: dict[str, Any] = {"@type": "Person" if party.is_person else "Organization", "name": party.name}
    if party.id:
        found["@id"] = party.id
    if party.affiliation:
        found["affiliation"] = {"@type": "Organization", "name": party.affiliation}
    return found


def in_page(document: dict[str, Any]) -> Markup:
    """Return a document as the content of a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True)
    return Markup(text.translate(_ESCAPED))  # noqa: S704 - it has no '<', '>' or '&' any more
