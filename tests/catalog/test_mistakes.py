"""Mistakes in the catalog: each is one clear line with the file, the line and the place."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapack.catalog import lock, model
from datapack.catalog.model import Catalog
from datapack.errors import CatalogError, UsageError
from datapack.reference import Reference
from tests.catalog.small import BASE, CATALOG, changed, with_keys, with_sources
from tests.conftest import PROJECT


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
            ":7: datasets.reef.homepage: invalid value: expected an http or https URL, without a user name or password",
        ),
        (
            changed("licence: CC0-1.0", "licence: CC0-1.0\n    homepage: https://me:pw@example.org/"),
            ":7: datasets.reef.homepage: invalid value: expected an http or https URL, without a user name or password",
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


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("creators: []", "datasets.reef.creators"),
        ("creators: [{}]", "give either 'person' or 'organisation'"),
        ("creators: [{person: A, organisation: B}]", "give either 'person' or 'organisation'"),
        ("creators: [{organisation: A, orcid: 0000-0002-1825-0097}]", "are keys of a person"),
        ("creators: [{person: A, ror: 01nrxwf90}]", "is a key of an organisation"),
        ("creators: [{person: A, orcid: 0000-0002-1825-0098}]", "a digit of the ORCID iD is wrong"),
        ("creators: [{person: A, orcid: 0000-1}]", "an ORCID iD, such as"),
        ("creators: [{organisation: A, ror: 'https://ror.org/01nrxwf90'}]", "the last part of a ROR"),
        ("creators: [{persn: A}]", "did you mean 'person'?"),
        ("published: 2024-02-30", "not a date, such as"),
        ("published: soon", "not a date, such as"),
        ("published: true", "text"),
        ("keywords: fish", "a list"),
        ("responsible_ai: {bias: none}", "did you mean 'biases'?"),
        ("responsible_ai: {biases: ''}", "some text"),
        ("retention: {period: 3 years}", "datasets.reef.retention: missing key 'reason'"),
        ("retention: {reason: x}", "give either 'until' or 'period'"),
        ("retention: {until: 2027-01-01, period: 1 year, reason: x}", "give either 'until' or 'period'"),
        ("retention: {until: 2027-02-30, reason: x}", "not a day, such as"),
        ("retention: {until: 2027, reason: x}", "text"),
        ("retention: {until: 20270101, reason: x}", "text"),
        ("retention: {until: 2027-W01-1, reason: x}", "not a day, such as"),
        ("retention: {period: for ever, reason: x}", "not a period, such as"),
        ("retention: {period: 0 days, reason: x}", "not a period, such as"),
        ("retention: {priod: 3 years, reason: x}", "did you mean 'period'?"),
        ("retention: 3 years", "datasets.reef.retention"),
        ("projects: []", "datasets.reef.projects"),
        ("projects: eidf1", "a list"),
        ("purpose: ''", "some text"),
        ("purpse: x", "did you mean 'purpose'?"),
    ],
)
def test_mistake_in_what_a_dataset_says_of_itself(read, keys, says):
    """A mistake in a key for the metadata, or for the record of an ingress, is reported with its line."""
    with pytest.raises(CatalogError) as error:
        read(with_keys(keys))
    assert says in str(error.value)
    assert "datasets.yml:7: " in str(error.value)
    assert "\n" not in str(error.value)


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
    text = (PROJECT / "datasets.yml").read_text()
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
