"""Croissant: mlcroissant loads what is written without a warning, and yields the dataset's own records from its bag."""

import csv
import gzip
import io
import json
import subprocess
import sys

import pytest
import yaml

from datapack.bag.bagit import Bag
from datapack.catalog.model import Catalog as CatalogFile
from datapack.metadata.content import read_content
from datapack.metadata.croissant import CONFORMS_TO, croissant, semantic_version
from datapack.metadata.facts import dataset_facts
from datapack.progress import Silent
from datapack.reference import Reference
from tests.conftest import PROJECT
from tests.metadata.datasets import dataset, read, reef

COCO = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": 4, "height": 3, "place": None},
        {"id": 9, "file_name": "b.png", "width": 4, "height": 3},
    ],
    "annotations": [{"id": 1, "image_id": 9, "category_id": 2, "bbox": [0, 1, 2, 2.5], "iscrowd": 0, "area": 5}],
    "categories": [{"id": 2, "name": "fish"}],
}
CODE = """\
import json, logging, sys
import mlcroissant
def plain(value):
    return value.decode() if isinstance(value, bytes) else value.item() if hasattr(value, "item") else str(value)
dataset = mlcroissant.Dataset(sys.argv[1])
records = {each.uuid: list(dataset.records(each.uuid)) for each in dataset.metadata.record_sets}
issues = dataset.metadata.ctx.issues
print(json.dumps({"issues": [*issues.errors, *issues.warnings], "records": records}, default=plain))
"""


def load(path) -> dict[str, list[dict]]:
    """Load a document with mlcroissant in a process of its own; return its records, without an issue or a warning."""
    offline = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", CODE, str(path)]
    done = subprocess.run(command, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    found = json.loads(done.stdout)
    assert found["issues"] == []
    return found["records"]


def rows(records: dict[str, list[dict]], name: str) -> list[dict]:
    """Return the records of a RecordSet, by the last part of the names of their fields."""
    return [{key.rpartition("/")[2]: value for key, value in row.items()} for row in records[name]]


def test_the_reefs_annotations_come_back_from_its_bag(tmp_path):
    """Each row of each list of the reef's COCO file is a record, offline, and its file's sha256 is checked."""
    catalog = reef(tmp_path / "reef")
    catalog.ok("metadata", "reef@v1")
    path = catalog.root / "dist" / "reef-v1.metadata" / "croissant.json"
    records = load(path)
    coco = json.loads((PROJECT / "examples" / "reef" / "train.json").read_bytes())
    for name in ("images", "annotations", "categories"):
        assert rows(records, f"train.json/{name}") == coco[name]
    document = read(catalog, "croissant.json", "reef-v1")
    assert document["conformsTo"] == CONFORMS_TO
    assert document["version"] == "1"
    assert document["license"] == ["https://spdx.org/licenses/CC0-1.0"]
    bag = next(each for each in document["distribution"] if each["@id"] == "bag")
    assert f"sha256:{bag['sha256']}" in document["identifier"]
    local = catalog.root / "data" / "reef" / "v1" / "data" / "train.json"
    changed = local.read_bytes().replace(b"starfish", b"seahorse")
    local.unlink()
    local.write_bytes(changed)
    with pytest.raises(AssertionError, match="Hash of downloaded file"):
        load(path)


def test_tables_have_the_columns_and_rows_of_their_files(tmp_path):
    """Columns of CSV, TSV and Parquet have their types; one without a name, or with that of another, is left out."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"depth": [1.5, 2.5], "dive": ["a", "b"], "list": [[1], [2]]}), out)
    files = {
        "one.csv": b'id,"a, b",depth,ok,same,same,same.1,\n1,x,0.5,true,1,1,9,1\n2,"y ""z""",1.5,false,1,1,9,1\n',
        "two.tsv": "küste\tzahl\nLeith\t3\n".encode(),
        "three.parquet": out.getvalue(),
        "numbers.csv": b"1,2\n3,4\n",
        "broken.csv": b"\x89PNG\r\n\x1a\n",
        "latin.csv": "a,b\n1,ö\n".encode("latin-1"),
        "semicolons.csv": b"a;b\n1;2\n",
        "ragged.csv": b"a,b\n1,2\n1,2,3\n",
        "german.csv": b'size,half,sure\n"1,5",?,TRUE\n2,1,False\n',
        "packed.csv.gz": gzip.compress(b"a\n1\n\n", mtime=0),
        "cut.csv.gz": gzip.compress(b"a\n1\n", mtime=0)[:-9],
    }
    catalog = dataset(tmp_path / "odd", files)
    catalog.ok("metadata", "odd@v1")
    records = load(catalog.root / "dist" / "odd-v1.metadata" / "croissant.json")
    readable = ("one.csv", "two.tsv", "three.parquet", "german.csv", "packed.csv.gz")
    assert records.keys() == {f"{name}/rows" for name in readable}
    assert [list(row.values()) for row in records["german.csv/rows"]] == [["1,5", "?", True], ["2", "1", False]]
    assert [list(row.values()) for row in records["packed.csv.gz/rows"]] == [[1]]
    found = list(csv.DictReader(io.StringIO(files["one.csv"].decode())))
    assert [list(row.values()) for row in records["one.csv/rows"]] == [
        [int(row["id"]), row["a, b"], float(row["depth"]), row["ok"] == "true"] for row in found
    ]
    assert [list(row.values()) for row in records["two.tsv/rows"]] == [["Leith", 3]]
    assert [list(row.values()) for row in records["three.parquet/rows"]] == [[1.5, "a"], [2.5, "b"]]


def test_the_parts_of_a_split_are_named(tmp_path):
    """Each part of a split has its name, its use and the RecordSet of its images."""
    images = [{"id": number, "file_name": f"{number}.png", "width": 2, "height": 2} for number in range(10)]
    coco = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "fish"}]}
    files = {"all.json": json.dumps(coco).encode(), **{f"{number}.png": bytes([number]) for number in range(10)}}
    catalog = dataset(tmp_path / "odd", files)
    document = yaml.safe_load((catalog.root / "datasets.yml").read_text())
    source = {"split": "odd@v1", "ratios": {"train": 0.5, "val": 0.5}, "by": "image"}
    document["datasets"]["odd"]["versions"]["v2"] = {"sources": [source]}
    (catalog.root / "datasets.yml").write_text(yaml.safe_dump(document))
    catalog.ok("fetch", "odd@v2")
    catalog.ok("metadata", "odd@v2")
    records = load(catalog.root / "dist" / "odd-v2.metadata" / "croissant.json")
    parts = {row["name"]: row for row in rows(records, "splits")}
    assert {name: row["use"].rpartition("/")[2] for name, row in parts.items()} == {
        "train": "TrainingSplit",
        "val": "ValidationSplit",
    }
    listed = [row["id"] for row in parts.values() for row in rows(records, row["images"])]
    assert sorted(listed) == list(range(10))


NAMES = (
    "a b.json",
    "100%.json",
    "50%41.json",
    "ö#ü?.json",
    "'<script>\".json",
    "[x]{y}.json",
    "http:/x.json",
    "a,b;c.json",
)


def test_any_file_name_can_be_loaded(tmp_path):
    """Spaces, percent signs, quotes, markup and reserved characters of IRIs in names and texts change nothing."""
    files = {f"lists/{name}": json.dumps(COCO).encode() for name in NAMES} | {"a*b.[c]": b"x", "no ending?": b"y"}
    texts = {"title": '</script><b>"%20"</b> Ωdd', "keywords": ["<!--", "https://example.org/?a=b#c", "%zz"]}
    catalog = dataset(tmp_path / "odd", files, **texts)
    catalog.ok("metadata", "odd@v1")
    records = load(catalog.root / "dist" / "odd-v1.metadata" / "croissant.json")
    boxes = [found for name, found in records.items() if name.endswith("/annotations")]
    assert [next(iter(found)) for found in boxes]
    assert len(boxes) == len(NAMES)
    assert all(list(found[0].values()) == [1, 9, 2, [0.0, 1.0, 2.0, 2.5], 0, 5] for found in boxes)
    document = read(catalog, "croissant.json")
    assert document["alternateName"] == ["odd@v1", texts["title"]]
    assert document["keywords"] == texts["keywords"]


def test_rows_that_differ_are_described_by_what_they_share(tmp_path):
    """A key that some rows lack, or whose values are of several kinds, is left out; ids that repeat are no key."""
    images = [
        {"id": 1, "file_name": "a", "width": 1.0, "odd key": 1, "parent": 1},
        {"id": 1, "file_name": "b", "width": 2},
    ]
    notes = [
        {"id": 1, "image_id": "1", "category_id": 2.0, "bbox": [1, 2, 3, 4], "quad": [1, 2, 3, 4], "x": [1]},
        {"id": 2, "image_id": "1", "category_id": 3, "bbox": [1, 2, 3, 5], "quad": [1, 2, 3, 5], "x": "y"},
    ]
    content = json.dumps({"images": images, "annotations": notes, "categories": [1, 2]}).encode()
    catalog = dataset(
        tmp_path / "odd", {"list.json": content, "other.json": b'{"images": 3}', "cut.json": content[:-9]}
    )
    catalog.ok("metadata", "odd@v1")
    records = load(catalog.root / "dist" / "odd-v1.metadata" / "croissant.json")
    assert records.keys() == {"list.json/images", "list.json/annotations"}
    assert rows(records, "list.json/images")[1] == {"id": 1, "file_name": "b", "width": 2.0}
    quad = [1, 2, 3, 4]
    first = {"id": 1, "image_id": "1", "category_id": 2, "bbox": quad, "quad": quad}
    assert rows(records, "list.json/annotations")[0] == first
    document = read(catalog, "croissant.json")
    assert [each["@id"] for each in document["recordSet"] if "key" in each] == ["list.json/annotations"]


@pytest.mark.parametrize(
    ("version", "written"),
    [("v1", "1"), ("1.2.3", "1.2.3"), ("v2.1", "2.1"), ("imagenet1k-v2", "imagenet1k-v2"), ("v01", "v01")],
)
def test_a_version_is_a_number_if_it_has_one(version, written):
    """A version that is a number after an optional v is written as that number."""
    assert semantic_version(version) == written


def test_public_places_are_named_without_what_gives_access(tmp_path):
    """The URL that a file was fetched from is named, without a password or a signature."""
    catalog = dataset(tmp_path / "odd", {"train.json": json.dumps(COCO).encode()})
    entry = CatalogFile.read(catalog.root / "datasets.yml").entry(Reference("odd", "v1"))
    bag = Bag.open(catalog.root / "data" / "odd" / "v1")
    urls = {"data/train.json": "https://me:secret@example.org/a b.json?X-Amz-Signature=secret&part=1"}
    document = croissant(dataset_facts(entry, bag, None), read_content(entry, bag, Silent()), "bag", urls)
    places = {each["sameAs"] for each in document["distribution"] if "sameAs" in each}
    assert places == {"https://example.org/a%20b.json?part=1"}
    assert "secret" not in json.dumps(document)
