"""Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html): what loaders of datasets read.

The distribution has the bag, the import container if there is one, a set of files for each media type, and each file
whose records are described. Such a file is named by its path, not as part of the bag, so that mlcroissant finds it,
and checks its sha256, without an archive to unpack. Ids are quoted, since they become parts of IRIs; paths are not,
since readers take them as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from datapack.bag.manifest import PAYLOAD
from datapack.metadata.croissant_records import file_id, record_sets
from datapack.metadata.media_types import JSON, table_type
from datapack.metadata.schema_org import party_of
from datapack.oci.spec import MANIFEST as IMAGE_MANIFEST
from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.metadata.content import CocoFile, Content, TableFile
    from datapack.metadata.facts import DatasetFacts

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
BAG, IMAGE = "bag", "image"
_BAGIT = "https://www.rfc-editor.org/info/rfc8493"
_SEMANTIC = re.compile(r"v?((?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){0,2})")
_TERMS = ("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet")
_MORE_TERMS = ("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet")
_LAST_TERMS = ("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField")
_NEW_TERMS = ("arrayShape", "containedIn", "isArray", "transform")
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in (*_TERMS, *_MORE_TERMS, *_LAST_TERMS, *_NEW_TERMS)},
}
_RESPONSIBLE_AI = {  # the catalog's keys under responsible_ai
    "collection": "dataCollection",
    "preprocessing": "dataPreprocessingProtocol",
    "annotation": "dataAnnotationProtocol",
    "uses": "dataUseCases",
    "biases": "dataBiases",
    "limitations": "dataLimitations",
    "social_impact": "dataSocialImpact",
    "personal_information": "personalSensitiveInformation",
    "maintenance": "dataReleaseMaintenancePlan",
}


def croissant(facts: DatasetFacts, content: Content, bag: str, urls: Mapping[str, str]) -> dict[str, Any]:
    """Return the document.

    Args:
        facts: the facts of the dataset.
        content: what its COCO files and tables contain.
        bag: the path of the bag from the folder of the document.
        urls: the URLs of payload files in public places, by their paths below the bag.
    """
    known = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": facts.reference.name,
        "alternateName": [facts.name, facts.title],
        "description": facts.description,
        "identifier": [facts.identifier, facts.digest],
        "version": semantic_version(facts.version),
        "license": [licence.url for licence in facts.licences] or facts.licence,
        "url": facts.homepage or facts.identifier,  # required
        "creator": [party_of(party) for party in facts.creators],
        "publisher": {"@type": "Organization", "name": facts.publisher} if facts.publisher else None,
        "keywords": list(facts.keywords),
        "datePublished": facts.published,
        "citeAs": facts.cite_as,
        "conditionsOfAccess": facts.access,
        "isBasedOn": [related.url for related in facts.related],
        "isLiveDataset": False,
        "distribution": list(_distribution(facts, content, bag, urls)),
        "recordSet": list(record_sets(content)),
        **{f"rai:{_RESPONSIBLE_AI[key]}": text for key, text in facts.responsible_ai.items()},
    }
    return {key: value for key, value in known.items() if value not in ("", None, [])}


def semantic_version(version: str) -> str:
    """Return a version as Croissant wants it: ``v1`` becomes ``1``; one that is no number stays as it is."""
    match = _SEMANTIC.fullmatch(version)
    return match[1] if match else version


def _distribution(facts: DatasetFacts, content: Content, bag: str, urls: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    yield {
        "@type": "cr:FileObject",
        "@id": BAG,
        "name": facts.name,
        "description": "The dataset as a BagIt folder. Its sha256 is that of manifest-sha256.txt, which has the sha256 "
        "of every file: the dataset digest.",
        "contentUrl": bag,
        "contentSize": f"{facts.bytes} B",
        "encodingFormat": _BAGIT,
        "sha256": facts.digest.removeprefix("sha256:"),
    }
    if facts.image:
        yield {
            "@type": "cr:FileObject",
            "@id": IMAGE,
            "name": f"{facts.name} as an import container",
            "description": "The container image that holds the bag and copies it into a Trusted Research Environment. "
            "Its sha256 is that of its manifest: the image digest.",
            "contentUrl": f"pkg:oci/{facts.reference.name}@{quote(facts.image, safe='')}?tag={facts.version}",
            "encodingFormat": IMAGE_MANIFEST,
            "sha256": facts.image.removeprefix("sha256:"),
        }
    for kind in facts.kinds:
        yield {
            "@type": "cr:FileSet",
            "@id": f"files/{quote(kind.media_type, safe='/')}",
            "name": f"files of type {kind.media_type}",
            "description": f"{kind.files} files, {kind.bytes} B",
            "containedIn": {"@id": BAG},
            "encodingFormat": kind.media_type,
            "includes": list(kind.patterns),
        }
    for path, found in _described(content):
        url = urls.get(f"{PAYLOAD}/{path}")
        yield {
            "@type": "cr:FileObject",
            "name": path,
            "contentUrl": f"{bag}/{PAYLOAD}/{path}",
            **found,
            **({"sameAs": hide_secrets(url)} if url else {}),
        }


def _described(content: Content) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each file whose records are described; a COCO file once for each list, as mlcroissant reads one of each."""
    for coco in content.cocos:
        for name in coco.lists:
            found = {"@id": file_id(coco.path, name), "description": f"Of this file, the list {name!r}."}
            yield coco.path, {**found, **_file(coco, JSON)}
    for table in content.tables:
        if table.columns:
            yield table.table.path, {"@id": file_id(table.table.path), **_file(table, table_type(table.table.path))}


def _file(file: CocoFile | TableFile, encoding: str) -> dict[str, str]:
    return {"contentSize": f"{file.size} B", "encodingFormat": encoding, "sha256": file.sha256}
