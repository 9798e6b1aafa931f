"""The catalog: what is read, the error for each mistake, and the JSON Schema."""

import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.catalog import lock, model
from datapack.catalog.model import Catalog, Version
from datapack.catalog.schema import json_schema
from datapack.catalog.source_entry import KINDS
from datapack.catalog.sources import (
    CocoSource,
    DoiSource,
    HuggingFaceSource,
    KaggleSource,
    ListSource,
    LocalSource,
    RunSource,
    SplitSource,
    StorageSource,
    SubsetSource,
    UnpackSource,
    UrlSource,
)
from datapack.errors import CatalogError, UsageError
from datapack.reference import Reference

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/alpine:3.22@sha256:" + "a" * 64
CATALOG = f"""\
defaults:
  base: {BASE}
datasets:
  reef:
    title: A reef
    licence: CC0-1.0
    versions:
      v1:
        sources:
          - local: images/*.png
            into: images
"""


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes a catalog and reads it."""

    def read(text: str) -> Catalog:
        path = tmp_path / "datasets.yml"
        path.write_text(text)
        return Catalog.read(path)

    return read


def with_sources(*sources: object) -> str:
    """The catalog with other sources."""
    document = yaml.safe_load(CATALOG)
    document["datasets"]["reef"]["versions"]["v1"]["sources"] = list(sources)
    return yaml.safe_dump(document)


def changed(old: str, new: str) -> str:
    """The catalog with one part of its text replaced; the part must exist."""
    assert old in CATALOG
    return CATALOG.replace(old, new)


def test_minimal_catalog_has_defaults(read):
    """Keys that are not set have their defaults."""
    entry = read(CATALOG).entry(Reference("reef", "v1"))
    assert entry.base == BASE
    assert entry.connections == 5
    assert entry.defaults.registry is None
    assert entry.sources == (LocalSource(local="images/*.png", into="images"),)
    assert (entry.dataset.private, entry.dataset.publisher, entry.dataset.contact) == (False, None, None)


def test_each_kind_of_source_is_read(read):
    """The key with a kind's name determines the kind of a source."""
    sources = [
        {"kaggle": "fathomnet2024", "files": ["train.json"]},
        {"coco": "train.json", "into": "images", "missing": ["a.png"]},
        {"url": "https://example.org/a.csv", "sha256": "0123abcd"},
        {"local": "notes.txt"},
        {"subset": "reef@v0", "coco": ["train.json"], "count": 2},
        {"split": "reef@v0", "coco": "train.json", "ratios": {"train": 0.8, "val": 0.2}},
        {"list": "files.csv", "base": "https://example.org/"},
        {"doi": "10.5281/zenodo.1"},
        {"huggingface": "datasets/owner/name", "revision": "0" * 40},
        {"storage": "s3://bucket/folder/"},
        {"unpack": "data.zip"},
        {"run": "runs/r1"},
    ]
    text = with_sources(*sources).replace("v1:", "v0: {sources: [{run: a}]}\n      v1:")
    text = text.replace("title:", "kind: model\n    title:")
    kinds = [type(source) for source in read(text).entry(Reference("reef", "v1")).sources]
    assert kinds == [
        KaggleSource,
        CocoSource,
        UrlSource,
        LocalSource,
        SubsetSource,
        SplitSource,
        ListSource,
        DoiSource,
        HuggingFaceSource,
        StorageSource,
        UnpackSource,
        RunSource,
    ]
    assert set(KINDS.values()) == set(kinds)


def test_version_can_be_made_from_source_objects():
    """Users of the library can make a version from source objects, not only from a file."""
    source = LocalSource(local="a")
    assert Version(sources=(source,)).sources == (source,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: invalid value: expected keys with values, found nothing"),
        ("- a\n", ":1: invalid value: expected keys with values, found a list"),
        ("datasets: {}\n", ":1: datasets: invalid value: expected at least one entry, found no keys"),
        (changed(f"defaults:\n  base: {BASE}\n", ""), ":1: missing key 'defaults'"),
        (
            changed("datasets:", "dataset:"),
            ":3: unknown key 'dataset': expected one of datasets, defaults; did you mean 'datasets'?",
        ),
        (changed("    title: A reef\n", ""), ":4: datasets.reef: missing key 'title'"),
        (changed("A reef", "[a]"), ":5: datasets.reef.title: invalid value: expected text, found a list"),
        (changed("A reef", ""), ":5: datasets.reef.title: invalid value: expected text, found nothing"),
        (changed("A reef", "' '"), ":5: datasets.reef.title: invalid value: expected some text"),
        (
            changed("A reef", "2024"),
            ":5: datasets.reef.title: invalid value: expected text, found the number 2024; put it in quotes",
        ),
        (
            changed("licence: CC0-1.0", "licence: CC0-1.0\n    license: MIT"),
            ":7: datasets.reef: unknown key 'license': expected one of citation, contact, creators",
        ),
        (
            changed("licence: CC0-1.0", "licence: CC0-1.0\n    private: perhaps"),
            ":7: datasets.reef.private: invalid value: expected true or false, found 'perhaps'",
        ),
        (
            changed("licence: CC0-1.0", "licence: CC0-1.0\n    homepage: example.org"),
            ":7: datasets.reef.homepage: invalid value: expected an http or https URL, found 'example.org'",
        ),
        (changed("  reef:", "  Reef:"), ":4: datasets.Reef: invalid name: expected lower-case letters and digits"),
        (changed("v1:", "v 1:"), ":8: datasets.reef.versions['v 1']: invalid name: expected letters, digits"),
        (
            changed("v1:", "v1.partial:"),
            ":8: datasets.reef.versions.v1.partial: invalid name: expected letters, digits",
        ),
        (
            changed(BASE, "docker.io/library/alpine:3.22"),
            ":2: defaults.base: the base is not pinned by digest: expected REGISTRY/NAME:TAG",
        ),
        (
            changed(BASE, "docker.io/library/alpine:3.22"),
            ", or oci:DIR, found 'docker.io/library/alpine:3.22'; run 'datapack base' to look up the digest",
        ),
        (changed(BASE, "alpine:3.22"), ":2: defaults.base: the base is not pinned by digest"),
        (
            changed(BASE, BASE[:-1]),
            ":2: defaults.base: invalid value: expected REGISTRY/NAME:TAG@sha256:<64 hex digits>",
        ),
        (changed(BASE, "'oci:'"), ":2: defaults.base: invalid value"),
        (
            changed(BASE, BASE + "\n  connections: -1"),
            ":3: defaults.connections: invalid value: expected a number of at least 1, found the number -1",
        ),
        (
            changed(BASE, BASE + "\n  connections: '5'"),
            ":3: defaults.connections: invalid value: expected a whole number, found '5'",
        ),
        (
            changed(BASE, BASE + "\n  registry: https://ghcr.io/x"),
            ":3: defaults.registry: invalid value: expected a registry",
        ),
    ],
)
def test_mistake_is_reported_with_line_and_place(read, text, says):
    """A mistake gives one line: the file, the line, the place, what was expected and what was found."""
    with pytest.raises(CatalogError) as error:
        read(text)
    assert (f"datasets.yml{says}" if says.startswith(":") else says) in str(error.value)
    assert "\n" not in str(error.value)


COCO = {"coco": "a.json", "into": "images"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            {},
            r": unknown kind of source: expected one of the keys coco, .*, storage, subset, unpack, url, found no key",
        ),
        ("a.txt", ": unknown kind of source"),
        ({"kagle": "x"}, ": unknown kind of source: .*, found kagle; did you mean 'kaggle'\\?"),
        ({"local": "a", "url": "https://a.org/b"}, ": the source has more than one kind: .*, found local and url"),
        ({"coco": "a.json"}, ": missing key 'into'"),
        (
            {**COCO, "mirors": {}},
            r": unknown key 'mirors': expected one of coco, exclude, headers, .*, missing; did you mean 'mirrors'\?",
        ),
        ({**COCO, "into": 5}, r"\.into: invalid value: expected text, found the number 5"),
        (
            {**COCO, "missing": -1},
            r"\.missing: .*expected 'fail' or a list or a number of at least 0, found the number -1",
        ),
        ({**COCO, "missing": "some"}, r"\.missing: .*expected 'fail' or a list or a whole number, found 'some'"),
        ({**COCO, "missing": ["a", 7]}, r"\.missing\[1\]: invalid value: expected text, found the number 7"),
        ({**COCO, "missing": True}, r"\.missing: .*expected 'fail' or a list or a whole number, found true"),
        (
            {**COCO, "mirrors": {"https://a.org": "https://b.org"}},
            r"\.mirrors\['https://a\.org'\]: invalid value: expected a list, found 'https://b\.org'",
        ),
        ({"kaggle": "x"}, ": missing key 'files'"),
        ({"kaggle": "x", "files": []}, r"\.files: invalid value: expected at least one entry, found an empty list"),
        ({"url": "ftp://example.org/a"}, r"\.url: "),
        ({"url": "file:///etc/passwd"}, r"\.url: "),
        (
            {"url": "https://example.org/a", "sha256": "abc"},
            r"\.sha256: invalid value: expected 8 to 64 hexadecimal digits, found 'abc'$",
        ),
        (
            {"kaggle": "a b", "files": ["c"]},
            r"\.kaggle: invalid value: expected a competition's name, or a dataset as OWNER/NAME or OWNER/NAME/v",
        ),
        ({"local": "/etc/passwd"}, r"\.local: "),
        ({"local": "../a"}, r"\.local: "),
        ({"local": "a", "into": "/b"}, r"\.into: "),
        ({"local": "a", "into": "b/../../c"}, r"\.into: "),
    ],
)
def test_mistake_in_a_source_is_reported_with_its_place(read, source, says):
    """A mistake in a source of any kind is reported like any other."""
    with pytest.raises(CatalogError, match=r"datasets\.reef\.versions\.v1\.sources\[0\]" + says) as error:
        read(with_sources(source))
    assert error.value.details == ()


def patterns(schema: object) -> set[str]:
    """Every pattern that a JSON Schema holds, for values and for keys."""
    if isinstance(schema, list):
        return set().union(*map(patterns, schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    return own.union(schema.get("patternProperties", ()), *map(patterns, schema.values()))


def test_every_pattern_has_words():
    """No error shows a regular expression: each pattern of the catalog and of the lock is worded, and none besides."""
    for schema, forms in ((Catalog.model_json_schema(), model._FORMS), (lock._adapter().json_schema(), lock._FORMS)):
        assert patterns(schema) == forms.keys()


def test_version_without_sources_is_refused(read):
    """A version needs at least one source."""
    with pytest.raises(CatalogError, match=r"sources: invalid value: expected at least one entry, found an empty list"):
        read(with_sources())


def test_password_in_a_url_is_not_shown(read):
    """Errors never show a value that may be a secret."""
    with pytest.raises(CatalogError, match=r"sources\[0\]\.url") as error:
        read(with_sources({"url": "https://me:hunter2@example.org/a"}))
    assert "hunter2" not in str(error.value)


def test_all_mistakes_are_reported_at_once(read):
    """The first mistake in the file is the error; the others are its details, in the order of the file."""
    text = changed("A reef", "5").replace("into:", "inot:").replace("  reef:", "  Reef:")
    with pytest.raises(CatalogError) as error:
        read(text)
    lines = [line.partition("datasets.yml")[2].split(": ")[0] for line in (str(error.value), *error.value.details)]
    assert lines == [":4", ":5", ":11"]


words = st.sampled_from(
    ["\n", "  ", "- ", ": ", "[", "{}", "*fathomnet", "&a ", "!!int ", "~", "1", "'", "#", "\t", "<<: "]
)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), words), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_random_typing_mistakes_are_reported_by_line(tmp_path_factory, edits):
    """A catalog with random mistakes either loads or is refused in one line that names the line in the file."""
    text = (ROOT / "datasets.yml").read_text()
    for part, removed, added in edits:
        at = int(part * len(text))
        text = text[:at] + added + text[at + removed :]
    path = tmp_path_factory.mktemp("typo") / "datasets.yml"
    path.write_text(text)
    try:
        Catalog.read(path)
    except CatalogError as error:
        for line in (str(error), *error.details):
            assert re.match(rf"{re.escape(str(path))}:\d+: \S.*$", line)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("reaf@v1", r"no reaf@v1 in the catalog: expected one of reef@v1; did you mean 'reef@v1'\?"),
        ("reef@v2", r"reef has no version v2: expected one of reef@v1; did you mean 'reef@v1'\?"),
        ("quite-another@2", r"no quite-another@2 in the catalog: expected one of reef@v1$"),
    ],
)
def test_unknown_reference_suggests_a_similar_one(read, reference, says):
    """The error lists the known references and suggests the most similar one."""
    with pytest.raises(UsageError, match=says):
        read(CATALOG).entry(Reference.parse(reference))


def test_entries_come_in_the_order_of_the_file():
    """The project's own catalog lists its versions in the order of the file."""
    entries = Catalog.read(ROOT / "datasets.yml").entries()
    fathom = ["fathom24@v1", "fathom24-mini@v1", "fathom24-split@v1"]
    detectors = ["fasterrcnn@coco-v1", "fasterrcnn-v2@coco-v1", "retinanet-v2@coco-v1", "fcos@coco-v1"]
    others = ["dfine-large@coco-v1", "rf-detr-medium@coco-v1", "mbari-315k-yolov5@v1"]
    references = [*fathom, "resnet50@imagenet1k-v2", *detectors, *others, "reef@v1"]
    assert [str(entry.reference) for entry in entries] == references
    assert [str(entry.reference) for entry in entries if entry.dataset.private] == fathom
    assert [str(entry.reference) for entry in entries if entry.is_model] == [*detectors, *others]


def fingerprint(read, *sources: object) -> str:
    """The fingerprint of a version with these sources."""
    return read(with_sources(*sources)).entry(Reference("reef", "v1")).fingerprint


def test_fingerprint_depends_on_the_sources(read):
    """It changes with every source, their order and what may be missing. The lock stores this golden value."""
    one, two = {"local": "a"}, {"coco": "a.json", "into": "i"}
    prints = [fingerprint(read, *some) for some in ([one], [one, two], [two, one], [one, {**two, "missing": 3}])]
    assert len(set(prints)) == 4
    assert prints[0] == "sha256:629841b3d349727921f7ebe569ba9019e2963933620141120c0738aba230a37c"


def test_fingerprint_ignores_what_does_not_change_the_files(read):
    """An explicit default, another title and a mirror do not change it."""
    plain = fingerprint(read, {"coco": "a.json", "into": "i"})
    mirrors = {"https://a.org": ["https://b.org"]}
    assert fingerprint(read, {"into": "i", "coco": "a.json", "missing": "fail", "mirrors": mirrors}) == plain


def test_shipped_schema_is_up_to_date():
    """datasets.schema.json is what `python -m datapack.catalog.schema` prints."""
    shipped = (ROOT / "datapack/catalog/datasets.schema.json").read_text()
    assert shipped == json_schema()
    done = subprocess.run(
        [sys.executable, "-m", "datapack.catalog.schema"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == shipped


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """The JSON Schema, which must itself be valid."""
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema()))
    return jsonschema.Draft202012Validator(json.loads(json_schema()))


def test_schema_accepts_valid_catalogs(schema):
    """The project's own catalog and the small one are valid."""
    for text in ((ROOT / "datasets.yml").read_text(), CATALOG):
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


def with_parents(**parents: str | None) -> str:
    """The catalog with these versions and their parents."""
    document = yaml.safe_load(CATALOG)
    sources = document["datasets"]["reef"]["versions"]["v1"]["sources"]
    versions = {version: {"parent": parent, "sources": deepcopy(sources)} for version, parent in parents.items()}
    document["datasets"]["reef"]["versions"] = versions
    return yaml.safe_dump(document, sort_keys=False)


def test_version_has_a_parent(read):
    """A parent is a version of the same dataset, earlier or later in the file."""
    catalog = read(with_parents(v1=None, v3="v2", v2="v1"))
    parents = {entry.reference.version: entry.parent for entry in catalog.entries()}
    assert parents == {"v1": None, "v3": Reference("reef", "v2"), "v2": Reference("reef", "v1")}


def test_parent_is_not_part_of_the_fingerprint(read):
    """Changing only the parent is no reason to fetch the sources again."""
    one, other = (read(with_parents(v1=None, v2=parent)).entry(Reference("reef", "v2")) for parent in (None, "v1"))
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("parents", "says"),
    [
        (
            {"v10": None, "v11": None, "v2": "v01"},
            ":19: datasets.reef.versions.v2.parent: not a version of reef: expected one of v10, v11, found 'v01'; did",
        ),
        ({"v2": "v1"}, "datasets.reef.versions.v2.parent: not a version of reef: expected another version, but there"),
        (
            {"v1": "v1"},
            "datasets.reef.versions.v1.parent: circular parents: expected an earlier version",
        ),
        ({"v1": "v3", "v2": "v1", "v3": "v2"}, ".v1.parent: circular parents: .*, found v1 -> v3 -> v2 -> v1$"),
        ({"v1": "v 2"}, "datasets.reef.versions.v1.parent: invalid value: expected letters, digits"),
    ],
)
def test_invalid_parent_is_refused(read, tmp_path, parents, says):
    """A parent that is not another version, or that is circular, is reported with its line and place."""
    with pytest.raises(CatalogError) as error:
        read(with_parents(**parents))
    assert str(error.value).startswith(f"{tmp_path / 'datasets.yml'}:")
    assert re.search(says, str(error.value))


def test_all_invalid_parents_are_reported(read):
    """The first is the error, the others are its details. A version that only leads to a cycle is not reported."""
    with pytest.raises(CatalogError, match=r"v1\.parent: circular") as error:
        read(with_parents(v1="v2", v2="v1", v3="v2", v4="v5"))
    assert [line.partition(" datasets.reef.versions.")[2][:10] for line in error.value.details] == [
        "v2.parent:",
        "v4.parent:",
    ]
