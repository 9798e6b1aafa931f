"""The JSON Schema that ships with datapack: up to date, and an editor that uses it marks what datapack refuses."""

import json
import subprocess
import sys

import jsonschema
import pytest
import yaml

from datapack.catalog.model import Catalog
from datapack.catalog.schema import json_schema
from datapack.catalog.source_entry import KINDS
from datapack.errors import CatalogError
from tests.catalog.small import BASE, CATALOG, changed, with_sources
from tests.conftest import PROJECT

COMMIT = "0" * 40
ACCEPTED = (
    {"local": "../x", "outside": True, "link": True},
    {"local": "/data/x", "outside": True},
    {"local": "a/*.png", "exclude": ["*.bak"]},
    {"url": "https://a.example/two words é.png", "md5": "0" * 32, "headers": {"Authorization": "Bearer ${T}"}},
    {"url": "HTTPS://a.example/x", "sha1": COMMIT},
    {"coco": "t.json", "into": "", "missing": 3, "mirrors": {"https://a.example/": ["https://b.example/x y/"]}},
    {"list": "l.csv", "base": "https://a.example/", "missing": ["a"], "hosts": ["h:80"], "headers": {"A": "${B}"}},
    {"doi": "https://doi.org/10.5281/zenodo.1"},
    {"doi": "doi:10.7910/DVN/ABC", "version": "1.0", "files": ["a/*", "*.csv"]},
    {"huggingface": "datasets/a/b", "revision": COMMIT, "files": ["**/x"]},
    {"kaggle": "competitions/x", "files": ["a"]},
    {"storage": "s3://b/x/", "endpoint": "http://h:1", "anonymous": True},
    {"unpack": "**/*.zip", "into": "a", "folder": "b/c", "keep": True},
    {"subset": "o@v1", "count": 3, "categories": ["a", 1], "names": ["a"], "sequences": 2, "drop": ["DP204"]},
    {"subset": "o@v1", "names": "n.txt", "sequences": ["s"], "coco": ["t.json"], "min_size": 3, "seed": 1},
    {"split": "o@v1", "ratios": {"train": 0.5, "val": 0.5}, "by": "image", "coco": "t.json"},
    {"run": "runs/r1", "into": "model"},
    {"run": "/safe_outputs/r1", "outside": True},
)
REFUSED = (
    {"local": "/data/x"},
    {"local": "../x", "outside": False},
    {"url": "ftp://a.example/x"},
    {"list": "../l.csv"},
    {"run": "/safe_outputs/r1"},
    {"storage": "s3://b/", "anonymous": "yes"},
    {"unpack": "a.zip", "into": "../x"},
    {"subset": "o@v1", "count": 0},
    {"split": "o@v1"},
)


def catalog(source: dict) -> dict:
    other = {"title": "t", "licence": "x", "versions": {"v1": {"sources": [{"local": "x"}]}}}
    derived = {**other, "versions": {"v1": {"sources": [source]}}}
    return {"defaults": {"base": "oci:base"}, "datasets": {"o": other, "d": derived}}


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """The JSON Schema, which must itself be valid."""
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema()))
    return jsonschema.Draft202012Validator(json.loads(json_schema()))


def test_every_kind_is_tried():
    """A new kind needs an example here."""
    assert all(any(kind in source for source in ACCEPTED) for kind in KINDS)


@pytest.mark.parametrize("source", ACCEPTED)
def test_what_the_models_accept_the_schema_accepts(schema, source):
    """Both take it."""
    Catalog.model_validate(catalog(source))
    assert list(schema.iter_errors(catalog(source))) == []


@pytest.mark.parametrize("source", REFUSED)
def test_simple_faults_are_found_by_both(schema, source):
    """The schema shows them while the user writes."""
    with pytest.raises(ValueError, match="validation error"):
        Catalog.model_validate(catalog(source))
    assert list(schema.iter_errors(catalog(source)))


def test_shipped_schema_is_up_to_date():
    """datasets.schema.json is what `python -m datapack.catalog.schema` prints."""
    shipped = (PROJECT / "datapack/catalog/datasets.schema.json").read_text()
    assert shipped == json_schema()
    done = subprocess.run(
        [sys.executable, "-m", "datapack.catalog.schema"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == shipped


def test_schema_accepts_valid_catalogs(schema):
    """The project's own catalog and the small one are valid."""
    for text in ((PROJECT / "datasets.yml").read_text(), CATALOG):
        assert list(schema.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        changed("datasets:", "dataset:"),
        changed("    title: A reef\n", ""),
        changed("A reef", "2024"),
        changed("licence:", "license:"),
        changed("  reef:", "  Reef:"),
        changed("v1:", "v1.dvc:"),
        changed(BASE, "alpine:3.22"),
        changed(BASE, BASE + "\n  connections: 0"),
        with_sources(),
        with_sources({}),
        with_sources({"kagle": "x", "files": ["a"]}),
        with_sources({"local": "a", "url": "https://a.org/b"}),
        with_sources({"local": "a", "inot": "b"}),
        with_sources({"local": "/a"}),
        with_sources({"local": "a/../../b"}),
        with_sources({"coco": "a.json", "into": "../i"}),
        with_sources({"coco": "a.json", "into": "i", "missing": -1}),
        with_sources({"coco": "a.json", "into": "i", "mirrors": {"a.org": ["https://b.org"]}}),
        with_sources({"coco": "a.json", "into": "i", "mirrors": {"https://a.org": ["b.org"]}}),
        with_sources({"kaggle": "x", "files": ["../a"]}),
        with_sources({"url": "file:///etc/passwd"}),
        with_sources({"url": "https://a.org/b", "sha256": "abc"}),
        with_sources({"kaggle": "a b", "files": ["c"]}),
    ],
)
def test_schema_and_models_refuse_the_same(read, schema, text):
    """An editor marks exactly what datapack refuses."""
    assert not schema.is_valid(yaml.safe_load(text))
    with pytest.raises(CatalogError):
        read(text)
