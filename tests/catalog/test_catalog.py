"""The catalog: what is read, the order of versions, fingerprints and parents."""

import re
from copy import deepcopy

import pytest
import yaml

from datapack.catalog.model import Catalog, Version
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
from datapack.errors import CatalogError
from datapack.reference import Reference
from tests.catalog.small import BASE, CATALOG, with_sources
from tests.conftest import PROJECT


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


def test_entries_come_in_the_order_of_the_file():
    """The project's own catalog lists its versions in the order of the file."""
    entries = Catalog.read(PROJECT / "datasets.yml").entries()
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
