"""Datasets for the tests of metadata: catalogs with everything that metadata asks for, fetched by datapack."""

from __future__ import annotations

import json
import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING

import yaml

from tests.conftest import PROJECT, Catalog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ANSWERS = {
    "creators": [
        {"person": "Carberry, Josiah", "orcid": "0000-0002-1825-0097", "affiliation": "Brown University"},
        {"organisation": "University of Edinburgh", "ror": "01nrxwf90"},
    ],
    "published": "2024-05-31",
    "publisher": "University of Edinburgh",
    "keywords": ["reef", "fish"],
    "homepage": "https://example.org/reef",
}


def reef(root: Path) -> Catalog:
    """Fetch the shipped reef, with the shipped catalog."""
    root.mkdir()
    shutil.copy(PROJECT / "datasets.yml", root)
    shutil.copytree(PROJECT / "examples" / "reef", root / "examples" / "reef")
    catalog = Catalog(root)
    catalog.ok("fetch", "reef@v1")
    return catalog


def dataset(
    root: Path, files: Mapping[str, bytes], *, version: Mapping[str, object] = MappingProxyType({}), **keys: object
) -> Catalog:
    """Fetch ``odd@v1``, a dataset of these files; ``keys`` replace the answers, and None leaves one out."""
    for name, content in files.items():
        path = root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    described = {"title": "An odd dataset", "licence": "CC-BY-4.0", **ANSWERS, **keys}
    versions = {"v1": {**version, "sources": [{"local": "source"}]}}
    document = {
        "defaults": {"base": "oci:base"},
        "datasets": {"odd": {**{k: v for k, v in described.items() if v is not None}, "versions": versions}},
    }
    (root / "datasets.yml").write_text(yaml.safe_dump(document, allow_unicode=True))
    catalog = Catalog(root)
    catalog.ok("fetch", "odd@v1")
    return catalog


def read(catalog: Catalog, name: str, reference: str = "odd-v1") -> dict:
    """Read a document that `datapack metadata` wrote."""
    return json.loads((catalog.root / "dist" / f"{reference}.metadata" / name).read_bytes())
