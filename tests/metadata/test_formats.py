"""The formats agree with each other and with their schemas, whatever the catalog's texts contain."""

import json
import re
from html.parser import HTMLParser

import pytest

from tests.metadata.datasets import ANSWERS, dataset, read

FILES = {
    "train.json": b'{"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}',
    "a.png": b"a",
    "b.PNG": b"bb",
    "notes": b"c",
}
EVIL = "</script><!--<script>alert(1)</script>\"'& %20 {{ 7 * 7 }} \u2028 ]]> Ωb"
RESPONSIBLE = {"collection": EVIL, "biases": "Few crabs.", "personal_information": "None.", "uses": "None."}


class _Scripts(HTMLParser):
    """The script elements of a page, as a browser finds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str | None, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.found.append((dict(attributes).get("type"), ""))

    def handle_data(self, data):
        if self.cdata_elem == "script":
            kind, text = self.found[-1]
            self.found[-1] = (kind, text + data)


def structured(catalog) -> dict:
    """Return schema.org's description in the report, the only script of its type."""
    catalog.ok("report", "odd@v1")
    page = (catalog.root / "dist" / "odd-v1.report.html").read_text()
    (found,) = [text for kind, text in _Scripts(page).found if kind == "application/ld+json"]
    assert not re.search("[<>&\u2028]", found)
    return json.loads(found)


def datacite_errors(document: dict) -> list[str]:
    """Return what the schema of DataCite 4.5 says is wrong, and convert the document to DataCite's XML."""
    schema = pytest.importorskip("datacite.schema45")
    assert "<resource" in schema.tostring({**document, "doi": "10.5072/example"})
    return [error.message for error in schema.validator.iter_errors(document)]


@pytest.mark.parametrize("text", ["A small reef", EVIL.replace("\u2028", "")])
def test_all_formats_say_the_same(tmp_path, text):
    """Title, description, people, dates, licence, size and digests are the same in each format."""
    keys = {
        "title": text,
        "description": f"{text} again",
        "keywords": [text, "fish", "fish"],
        "responsible_ai": RESPONSIBLE,
    }
    licence = "CC-BY-NC-ND-4.0 AND CC-BY-ND-4.0"
    keys["responsible_ai"] = {key: value.replace("\u2028", "") for key, value in RESPONSIBLE.items()}
    catalog = dataset(tmp_path / "odd", FILES, licence=licence, citation=f"Cite {text}", **keys)
    catalog.ok("metadata", "odd@v1")
    croissant, datacite, page = read(catalog, "croissant.json"), read(catalog, "datacite.json"), structured(catalog)
    assert datacite_errors(datacite) == []
    assert croissant["alternateName"][1] == datacite["titles"][0]["title"] == page["name"] == text
    assert croissant["description"] == datacite["descriptions"][0]["description"] == page["description"]
    names = [each["name"] for each in croissant["creator"]]
    assert names == [each["name"] for each in datacite["creators"]] == [each["name"] for each in page["creator"]]
    assert names == ["Carberry, Josiah", "University of Edinburgh"]
    ids = ["https://orcid.org/0000-0002-1825-0097", "https://ror.org/01nrxwf90"]
    assert [each["@id"] for each in croissant["creator"]] == [each["@id"] for each in page["creator"]] == ids
    assert [each["nameIdentifiers"][0]["nameIdentifier"] for each in datacite["creators"]] == ids
    assert croissant["datePublished"] == datacite["dates"][0]["date"] == page["datePublished"] == ANSWERS["published"]
    assert datacite["publicationYear"] == "2024"
    rights = [each["rightsUri"] for each in datacite["rightsList"] if "rightsUri" in each]
    assert croissant["license"] == rights == page["license"]
    assert [url.rpartition("/")[2] for url in rights] == licence.split(" AND ")
    words = [each["subject"] for each in datacite["subjects"]]
    assert croissant["keywords"] == words == page["keywords"] == [text, "fish"]
    assert croissant["citeAs"] == page["creditText"] == page["citation"]
    identifiers = [each["alternateIdentifier"] for each in datacite["alternateIdentifiers"]]
    assert croissant["identifier"] == identifiers == page["identifier"]
    assert page["size"] == datacite["sizes"][0] == croissant["distribution"][0]["contentSize"]
    kinds = [each["encodingFormat"] for each in croissant["distribution"] if each["@type"] == "cr:FileSet"]
    assert kinds == datacite["formats"] == page["encodingFormat"]
    assert croissant["publisher"] == page["publisher"]
    assert datacite["publisher"]["name"] == croissant["publisher"]["name"]
    assert croissant["rai:dataBiases"] in [each["description"] for each in datacite["descriptions"]]


def test_the_sets_of_files_have_every_file_once(tmp_path):
    """Each file fits the patterns of one set; spellings of an ending count, and names without one are named whole."""
    files = {"a.png": b"1", "x/b.PNG": b"2", "x/y/c.png": b"3", "LICENCE": b"4", "x/a*?": b"5", "d.[ch]": b"6"}
    catalog = dataset(tmp_path / "odd", files)
    catalog.ok("metadata", "odd@v1")
    sets = [each for each in read(catalog, "croissant.json")["distribution"] if each["@type"] == "cr:FileSet"]
    assert {each["encodingFormat"]: each["includes"] for each in sets} == {
        "image/png": ["data/**/*.PNG", "data/**/*.png", "data/*.png"],
        "application/octet-stream": ["data/*.[[]ch]", "data/LICENCE", "data/x/a[*][?]"],
    }


@pytest.mark.parametrize(
    ("licence", "found"),
    [
        ("MIT", ["MIT"]),
        ("Apache-2.0 WITH LLVM-exception OR mit", ["Apache-2.0", "LLVM-exception", "MIT"]),
        ("see the homepage", []),
        ("LicenseRef-ours", []),
        ("CC-BY-4.0 AND", []),
        ("<b>&(((", []),
        ("()", []),
    ],
)
def test_a_licence_is_named_only_if_spdx_has_it(tmp_path, licence, found):
    """An SPDX expression becomes links to its licences; any other text stays as it is."""
    catalog = dataset(tmp_path / "odd", {"a": b"a"}, licence=licence)
    catalog.ok("metadata", "odd@v1")
    expected = [f"https://spdx.org/licenses/{name}" for name in found] or licence
    assert read(catalog, "croissant.json")["license"] == expected
    assert datacite_errors(read(catalog, "datacite.json")) == []


def test_sources_are_related_without_what_gives_access(tmp_path):
    """DOIs and URLs of the sources are named, also those of versions that it is derived from, without signatures."""
    from datapack.catalog.model import Catalog
    from datapack.metadata.facts import Related, _related
    from datapack.reference import Reference

    text = """\
defaults: {base: "oci:base"}
datasets:
  a:
    title: A
    licence: MIT
    versions:
      v1:
        sources:
          - doi: 10.5281/zenodo.1234567
          - url: https://example.org/a.zip?X-Amz-Signature=secret&part=1
          - kaggle: fathomnet2024
            files: [train.json]
          - huggingface: datasets/owner/name
            revision: 0123456789012345678901234567890123456789
      v2:
        sources: [{subset: a@v1, count: 1}]
"""
    (tmp_path / "datasets.yml").write_text(text)
    catalog = Catalog.read(tmp_path / "datasets.yml")
    found = list(_related(catalog.entry(Reference("a", "v2"))))
    assert found == [
        Related("DOI", "10.5281/zenodo.1234567"),
        Related("URL", "https://example.org/a.zip?part=1"),
        Related("URL", "https://www.kaggle.com/competitions/fathomnet2024"),
        Related("URL", "https://huggingface.co/datasets/owner/name/tree/0123456789012345678901234567890123456789"),
    ]
