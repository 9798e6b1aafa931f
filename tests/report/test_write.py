"""`datapack report`: from a fetched version to a page, as a user runs it."""

import json
import os
import re
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import Catalog, fact
from tests.report.surveys import Page

IMAGES = {"images/a.png": (64, 48), "images/b c.png": (48, 64), "images/ü.png": (64, 48)}


def make_data(root: Path) -> None:
    """Write images and a COCO file, with one box that is outside its image."""
    for number, (name, size) in enumerate(IMAGES.items()):
        path = root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize(size).rotate(90 * number).save(path)
    rows = [
        {"id": number, "file_name": name.partition("/")[2], "width": width, "height": height}
        for number, (name, (width, height)) in enumerate(IMAGES.items(), start=1)
    ]
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}]
    boxes.append({"id": 2, "image_id": 2, "category_id": 1, "bbox": [500, 5, 20, 20], "area": 400, "iscrowd": 0})
    coco = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": "fish"}]}
    (root / "source/train.json").write_text(json.dumps(coco))
    (root / "source/table.csv").write_text("name,depth\nsecret-value,3\n,4\n")


def describe(catalog: Catalog, **changes) -> None:
    """Change the entry of the dataset in the catalog."""
    path = catalog.root / "datasets.yml"
    document = yaml.safe_load(path.read_text())
    document["datasets"]["reef"] |= changes
    path.write_text(yaml.safe_dump(document))


@pytest.fixture(scope="module")
def fetched_images(tmp_path_factory) -> Catalog:
    from tests.conftest import make_catalog

    catalog = make_catalog(tmp_path_factory.mktemp("report") / "catalog")
    shutil.rmtree(catalog.root / "source")
    make_data(catalog.root)
    catalog.ok("fetch", "reef@v1")
    return catalog


@pytest.fixture
def reef(fetched_images, tmp_path) -> Catalog:
    return fetched_images.copy(tmp_path / "catalog")


def page_of(catalog: Catalog, *arguments: str) -> Page:
    catalog.ok("report", "reef@v1", *arguments)
    return Page((catalog.root / "dist/reef-v1.report.html").read_text())


def test_the_report_of_a_version(reef):
    """The command says where the page is, whose digest it shows, what was found and how many images it has."""
    out = reef.ok("report", "reef@v1")
    page = Page((reef.root / "dist/reef-v1.report.html").read_text())
    digest = yaml.safe_load((reef.root / "datasets.lock").read_text())["reef@v1"]["digest"]
    assert fact(out, "report").startswith("dist/reef-v1.report.html, ")
    assert fact(out, "dataset") == digest
    assert "error" in fact(out, "findings")
    assert fact(out, "samples") == "3 images of the data"
    assert page.text.count(digest) == 3
    for part in ("A small reef", "CC0-1.0", "Data manager <data@example.org>", "local source", "b c.png", "fish"):
        assert part in page.text
    assert page.values("href", "a").count("https://example.org/reef") == 1
    assert page.tags.count("img") == 3
    assert reef.leftovers() == []


def test_the_same_bag_gives_the_same_bytes(reef, tmp_path):
    """Twice, in another folder, and whatever the times of its files are."""
    reef.ok("report", "reef@v1")
    first = (reef.root / "dist/reef-v1.report.html").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    other = reef.copy(tmp_path / "elsewhere" / "deeper")
    shutil.rmtree(other.root / ".datapack")
    for path in (other.root / "data").rglob("*.png"):
        path.touch()
    for catalog in (reef, other):
        catalog.ok("report", "reef@v1")
        assert (catalog.root / "dist/reef-v1.report.html").read_bytes() == first
    assert str(tmp_path).encode() not in first


def test_a_version_that_is_not_here_is_one_line(catalog):
    """Nothing is fetched for a report; the line says what to do."""
    assert "run 'datapack fetch reef@v1' first" in catalog.fails("report", "reef@v1")
    assert not (catalog.root / "dist").exists()


def test_private_data_has_no_images_unless_asked_for(reef):
    """Neither images nor values of tables are on the page, only its owner can read it; --samples adds images."""
    describe(reef, private=True)
    page = page_of(reef)
    assert "img" not in page.tags
    assert "This page shows no images of the data: the dataset is private." in page.text
    assert "secret-value" not in page.html
    assert "1 table with 2 rows in all." in page.text
    assert "name text 1 50 % depth whole number 0 0 %" in page.text
    assert stat.S_IMODE((reef.root / "dist/reef-v1.report.html").stat().st_mode) == 0o600
    assert page_of(reef, "--samples").tags.count("img") == 3
    assert stat.S_IMODE((reef.root / "dist/reef-v1.report.html").stat().st_mode) == 0o600


def test_a_licence_with_nd_means_no_images(reef):
    """Small copies would be changed copies."""
    describe(reef, licence="CC-BY-NC-ND-4.0")
    page = page_of(reef)
    assert "img" not in page.tags
    assert "its licence, CC-BY-NC-ND-4.0, does not allow changed copies" in page.text


def test_output_goes_where_it_should(reef, tmp_path):
    """Another file, relative to the folder of the command; a folder there is an error, and stays."""
    reef.ok("report", "reef@v1", "--output", "sub/page.html", "--no-samples")
    assert "shows no images of the data: --no-samples." in Page((reef.root / "sub/page.html").read_text()).text
    assert "a folder is where the report should go" in reef.fails("report", "reef@v1", "--output", "sub")
    assert (reef.root / "sub").is_dir()


def test_the_answer_for_programs(reef):
    """--json has the path, the size, the digest, the findings by severity and the number of images."""
    found = json.loads(reef.ok("report", "reef@v1", "--json"))
    path = reef.root / "dist/reef-v1.report.html"
    assert found["report"] == str(path)
    assert found["bytes"] == path.stat().st_size
    assert found["samples"] == 3
    assert found["no_samples"] is None
    assert found["findings"]["error"] >= 1


def test_silenced_findings_have_their_reasons(reef):
    """The catalog's reason stands beside the finding, which is no longer counted as an error."""
    before = json.loads(reef.ok("report", "reef@v1", "--json"))["findings"]
    codes = re.findall(r'<article class="finding error" id="(DP\d+)"', page_of(reef).html)
    version = {"sources": [{"local": "source"}], "silence": dict.fromkeys(codes, "it is a test")}
    describe(reef, versions={"v1": version})
    found = json.loads(reef.ok("report", "reef@v1", "--json"))["findings"]
    assert (before["silenced"], found["silenced"]) == (0, before["error"])
    assert page_of(reef).text.count("it is a test") == len(codes)


def test_a_damaged_bag_has_no_report(reef):
    """A missing file is one line, and no page is written."""
    (reef.root / "data/reef/v1/data/images/a.png").unlink()
    assert "the bag's files differ from its manifest" in reef.fails("report", "reef@v1")
    assert not (reef.root / "dist").exists()


def test_a_report_of_an_older_content_says_so(reef):
    """If the lock has another digest, the page warns."""
    lock = reef.root / "datasets.lock"
    lock.write_text(re.sub("digest: sha256:[0-9a-f]{64}", f"digest: sha256:{'0' * 64}", lock.read_text()))
    assert f"datasets.lock has another content for this version: sha256:{'0' * 64}" in page_of(reef).text


def test_a_built_child_shows_its_changes_and_its_layers(reef):
    """Files added, removed and changed since the parent; the image's layers, and which of them the parent has."""
    shutil.copytree(reef.root / "source", reef.root / "next")
    (reef.root / "next/new.txt").write_text("new")
    (reef.root / "next/table.csv").unlink()
    (reef.root / "next/train.json").write_text("{}")
    versions = {
        "v1": {"sources": [{"local": "source"}]},
        "v2": {"parent": "v1", "sources": [{"local": "next"}]},
    }
    describe(reef, versions=versions)
    reef.ok("build", "reef@v1")
    out = reef.ok("build", "reef@v2")
    reef.ok("report", "reef@v2")
    page = Page((reef.root / "dist/reef-v2.report.html").read_text())
    assert "Since reef@v1: 1 added, 1 removed, 1 changed." in page.text
    assert "added new.txt removed table.csv changed train.json" in page.text
    assert fact(out, "image") in page.text
    assert "Provenance dist/reef-v2.provenance.json" in page.text
    assert "The parent has 2 of 4 layers too: a push sends" in page.text
    assert re.search(r"images/a.png , images/b c.png , images/ü.png [\d.]+ kB 3 yes sha256:[0-9a-f]{12}", page.text)
    sizes = [path.stat().st_size for path in (reef.root / "dist/reef-v2/blobs/sha256").iterdir()]
    shown = [
        int(value)
        for value in re.findall(r'data-value="(\d+)">[\d.]+ k?B</td><td class="number" data-value="\d', page.html)
    ]
    assert {*shown[:4]} <= {*sizes}


def test_an_unknown_parent_and_an_odd_lock_do_not_stop_the_page(reef):
    """If the parent was never here, the page says that changes are not known; layers that don't fit are not shown."""
    describe(
        reef, versions={"v0": {"sources": [{"local": "z"}]}, "v1": {"parent": "v0", "sources": [{"local": "source"}]}}
    )
    lock = yaml.safe_load((reef.root / "datasets.lock").read_text())
    digest = f"sha256:{'1' * 64}"
    image = {"digest": digest, "id": digest, "layers": [digest]}
    lock["reef@v1"] |= {"base": digest, "packing": f"0*{lock['reef@v1']['files']}", "images": [image]}
    (reef.root / "datasets.lock").write_text(yaml.safe_dump(lock))
    page = page_of(reef)
    assert "What reef@v0 contains is not known on this machine" in page.text
    assert "No image of this content was built yet." in page.text
    lock["reef@v1"]["packing"] = "0*1"
    (reef.root / "datasets.lock").write_text(yaml.safe_dump(lock))
    assert "the packing does not fit the files" in reef.fails("report", "reef@v1", status=2)


def test_missing_files_have_their_reasons(reef):
    """What the catalog allows to be missing is listed, with what the sources answered."""
    (reef.root / "source/missing.csv").write_text("path,url,reason\nimages/x.png,https://example.org/x.png,404\n")
    shutil.rmtree(reef.root / "data/reef/v1")
    reef.ok("fetch", "reef@v1", "--refresh", "--update-lock")
    page = page_of(reef)
    assert "1 file is missing, as the catalog allows: 404 (1)" in page.text
    assert "images/x.png 404" in page.text


@pytest.mark.parametrize("place", ["datasets.yml", "pipe", "link"])
def test_nothing_but_a_report_is_replaced(reef, place):
    """A slip in --output must not cost the catalog, nor, for root, a device of the machine."""
    os.mkfifo(reef.root / "pipe")
    (reef.root / "link").symlink_to("pipe")
    before = {path: (path.lstat().st_mode, path.lstat().st_ino) for path in reef.root.iterdir()}
    assert re.search("no report|a FIFO", reef.fails("report", "reef@v1", "--output", place))
    assert {path: (path.lstat().st_mode, path.lstat().st_ino) for path in reef.root.iterdir()} == before
    (reef.root / "empty").touch()
    for _ in range(2):
        reef.ok("report", "reef@v1", "--output", "empty")
