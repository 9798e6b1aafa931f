"""The weights in the trainer images: the project's own `resnet50@imagenet1k-v2`, with a local server."""

import hashlib
import shutil
import subprocess

import pytest

from tests.conftest import PROJECT, Catalog, make_base
from tests.servers import Reply, Server

NAME = "resnet50-11ad3fa6.pth"
CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with Server({f"/models/{NAME}": Reply(CONTENT)}) as running:
        yield running


@pytest.fixture
def catalog(tmp_path, server):
    """The project's own catalog, with this server instead of PyTorch's."""
    root = tmp_path / "catalog"
    root.mkdir()
    shutil.copy(PROJECT / "datasets.yml", root)
    replace(root / "datasets.yml", f"https://download.pytorch.org/models/{NAME}", f"{server.url}/models/{NAME}")
    make_base(root / "base")
    return Catalog(root)


def replace(path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_weights_become_a_bag_for_the_images(catalog):
    """One file below data/, where the Dockerfiles expect it, in a bag that names its origin and licence."""
    replace(catalog.root / "datasets.yml", "sha256: 11ad3fa6", f"sha256: '{DIGEST[:8]}'")
    catalog.ok("fetch", "resnet50@imagenet1k-v2")
    bag = catalog.root / "data/resnet50/imagenet1k-v2"
    assert (bag / "manifest-sha256.txt").read_text() == f"{DIGEST}  data/{NAME}\n"
    info = (bag / "bag-info.txt").read_text()
    assert "External-Identifier: resnet50@imagenet1k-v2\n" in info
    assert "BSD-3-Clause" in info
    subprocess.run(["sha256sum", "-c", "manifest-sha256.txt", "tagmanifest-sha256.txt"], cwd=bag, check=True)


def test_other_weights_are_refused(catalog):
    """A file that torchvision did not publish leaves nothing behind that an image could use."""
    error = catalog.fails("fetch", "resnet50@imagenet1k-v2")
    assert f"wrong sha256 (expected 11ad3fa6, found {DIGEST})" in error
    assert not (catalog.root / "data/resnet50/imagenet1k-v2").exists()


@pytest.mark.torch
def test_url_is_torchvision_s_own():
    """torchvision itself would fetch the same file; its name has the first digits of its sha256."""
    from torchvision.models import ResNet50_Weights

    from datapack.catalog.model import Catalog
    from datapack.reference import Reference

    (source,) = Catalog.read(PROJECT / "datasets.yml").entry(Reference("resnet50", "imagenet1k-v2")).sources
    assert source.url == ResNet50_Weights.IMAGENET1K_V2.url
    assert source.url.endswith(f"-{source.sha256}.pth")
    assert source.file_name == NAME
