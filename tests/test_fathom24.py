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
    """A COCO file like Fathom24's, with images under two paths of fathomnet.org."""
    rows = [
        {
            "id": 3 * number,
            "width": width,
            "height": height,
            "file_name": f"{kind}-{number}.png",
            "license": 0,
            "coco_url": f"https://fathomnet.org/static/m3/staging/Doc%20Ricketts/images/{kind}/{number}.png",
            "date_captured": "2016-06-16 00:00:00",
        }
        for number, (width, height) in enumerate(SIZES * 4)
    ]
    return {"info": {}, "images": rows, "licenses": []}


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
