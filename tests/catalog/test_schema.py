"""The JSON Schema finds no fault with what the catalog's models accept: an editor must raise no false alarm."""

import json

import jsonschema
import pytest

from datapack.catalog.model import Catalog
from datapack.catalog.schema import json_schema
from datapack.catalog.source_entry import KINDS

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
