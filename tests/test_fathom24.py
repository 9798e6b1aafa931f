"""The main use, end to end: the project's own `fathom24@v1`, with local servers for Kaggle and the images."""

import json
import shutil
import subprocess

import pytest
import yaml

from tests.conftest import PROJECT, Catalog, fact, make_base
from tests.servers import FakeKaggle, Reply, Server, png

SIZES = [(1920, 1080), (720, 486), (720, 368)]


def listing(kind: str) -> dict:
    """A COCO file like Fathom24's, with images of six dives at fathomnet.org; only the list for training has boxes."""
    rows = [
        {
            "id": 3 * number,
            "width": width,
            "height": height,
            "file_name": f"{kind}-{number}.png",
            "license": 0,
            "coco_url": "https://fathomnet.org/static/m3/staging/Doc%20R/images/"
            f"{kind}{number // 2}/00_0{number % 2}_19_06.png",
            "date_captured": "2016-06-16 00:00:00",
        }
        for number, (width, height) in enumerate(SIZES * 4)
    ]
    if kind == "eval":
        return {"info": {}, "images": rows, "licenses": []}
    boxes = [
        {"id": number, "image_id": row["id"], "category_id": 1, "bbox": [291.0, 167.0, 205.0, 144.0], "iscrowd": 0}
        for number, row in enumerate(rows)
    ]
    categories = [{"id": 1, "name": "Holothuria", "supercategory": "Holothuria"}]
    return {"info": {}, "images": rows, "licenses": [], "annotations": boxes, "categories": categories}


@pytest.fixture
def web():
    """Two image hosts: the old one lost every second image and fails at first; the new one has all."""
    with Server() as old, Server() as new:
        for kind in ("train", "eval"):
            for number, row in enumerate(listing(kind)["images"]):
                path = row["coco_url"].removeprefix("https://fathomnet.org")
                reply = Reply(png(row["width"], row["height"], seed=number))
                new.reply(path, reply)
                if number % 2:
                    old.reply(path, [Reply(status=500), reply])
        yield old, new


@pytest.fixture
def fathom24(tmp_path, web):
    """The project's own catalog, with these hosts instead of FathomNet's and a local base."""
    old, new = web
    root = tmp_path / "catalog"
    root.mkdir()
    shutil.copy(PROJECT / "datasets.yml", root)
    text = (root / "datasets.yml").read_text()
    assert '["https://fathomnet.org", "https://database.fathomnet.org"]' in text
    text = text.replace('["https://fathomnet.org", "https://database.fathomnet.org"]', f'["{old.url}", "{new.url}"]')
    document = yaml.safe_load(text)
    document["defaults"]["base"] = "oci:base"
    (root / "datasets.yml").write_text(yaml.safe_dump(document))
    make_base(root / "base")
    return Catalog(root)


def test_fathom24_is_built_from_kaggle_and_the_web(fathom24, web):
    """Kaggle's COCO files and all their images end up in one image, with FathomNet's URLs in the bag."""
    files = {f"{kind}.json": json.dumps(listing(kind)).encode() for kind in ("train", "eval")}
    with FakeKaggle(files) as kaggle:
        fathom24.env = kaggle.environment
        output = fathom24.ok("build", "fathom24@v1")
    bag = fathom24.root / "data/fathom24/v1"
    assert len(list((bag / "data/images").rglob("*.png"))) == 24
    addresses = [line.split()[0] for line in (bag / "fetch.txt").read_text().splitlines()]
    assert len(addresses) == 26
    assert all(line.startswith(("https://fathomnet.org/static/", "https://www.kaggle.com/api/")) for line in addresses)
    assert "127.0.0.1" not in "".join(path.read_text() for path in bag.glob("*.txt"))
    subprocess.run(["sha256sum", "-c", "--quiet", "manifest-sha256.txt"], cwd=bag, check=True)
    assert fathom24.ok("verify", "oci:dist/fathom24-v1").startswith("verified")
    asked = [sum(host.requests.values()) for host in web]
    fathom24.env = {}
    assert fact(fathom24.ok("build", "fathom24@v1"), "image") == fact(output, "image")
    assert [sum(host.requests.values()) for host in web] == asked


def test_nothing_starts_without_a_credential(fathom24, tmp_path):
    """Without a Kaggle credential, the error says where one is expected."""
    fathom24.env = {"HOME": str(tmp_path / "nobody"), "KAGGLE_CONFIG_DIR": str(tmp_path / "nobody")}
    error = fathom24.fails("build", "fathom24@v1")
    assert "KAGGLE_API_TOKEN" in error
    assert not (fathom24.root / "data/fathom24/v1").exists()


def test_a_part_and_a_split_of_fathom24(fathom24):
    """The catalog's two derived datasets are made of links: fathom24 is fetched once, and no dive is in two parts."""
    text = (fathom24.root / "datasets.yml").read_text()
    assert "count: 200" in text
    (fathom24.root / "datasets.yml").write_text(text.replace("count: 200", "count: 8"))  # of the 24 images here
    with FakeKaggle({f"{kind}.json": json.dumps(listing(kind)).encode() for kind in ("train", "eval")}) as kaggle:
        fathom24.env = kaggle.environment
        fathom24.ok("build", "fathom24-mini@v1")
    fathom24.env = {}
    fathom24.ok("build", "fathom24-split@v1")
    assert fathom24.ok("verify", "oci:dist/fathom24-split-v1").startswith("verified")
    whole, mini, split = (fathom24.root / f"data/fathom24{end}/v1/data" for end in ("", "-mini", "-split"))
    for part, number in ((mini, 8), (split, 12)):
        images = list((part / "images").rglob("*.png"))
        assert len(images) == number
        assert all(image.samefile(whole / image.relative_to(part)) for image in images)
        urls = (part.parent / "fetch.txt").read_text().splitlines()
        assert len(urls) == number
        assert all(url.startswith("https://fathomnet.org/static/") for url in urls)
    parts = [json.loads((split / f"{name}.json").read_text()) for name in ("train", "val", "test")]
    dives = [{row["coco_url"].split("/")[-2] for row in part["images"]} for part in parts]
    assert [len(part["images"]) for part in parts] == [8, 2, 2]
    assert len(set().union(*dives)) == sum(map(len, dives)) == 6
    assert all(part["annotations"] for part in parts)
