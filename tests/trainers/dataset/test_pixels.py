"""Images have the sizes of torchvision's and the pixels of the checked bytes."""

import numpy as np
import pytest

from tests.trainers.havens import png
from trainers.config import ImageSection
from trainers.dataset.coco_file import parse_coco
from trainers.dataset.pixels import Decoded, Layout, scaled
from trainers.dataset.verify import open_dataset
from trainers.errors import MismatchError

SECTION = ImageSection(min_size=24, max_size=64)


@pytest.fixture
def coco(haven):
    return parse_coco(haven.files["train.json"], "train.json")


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (1333, 749)), ((720, 486), (1185, 800)), ((800, 800), (800, 800)), ((100, 5000), (26, 1333))],
)
def test_sizes_are_those_of_torchvision(size, expected):
    """Images are scaled as in torchvision: shorter side 800, longer at most 1333, rounded down."""
    assert tuple(scaled(np.array([size], np.int32), 800, 1333)[0]) == expected


def test_whatever_changes_the_pixels_changes_the_key(coco, monkeypatch):
    """The key depends on each file's content, the sizes, the configuration and the decoders, not on names."""
    hashes = [f"{index:064}" for index in range(len(coco))]
    key = Layout.of(coco, hashes, SECTION).key
    others = [
        Layout.of(coco, [*hashes[1:], hashes[0]], SECTION),
        Layout.of(coco, [*hashes[:-1], "f" * 64], SECTION),
        Layout.of(coco, hashes, ImageSection(min_size=25, max_size=64)),
        Layout.of(coco.keep(np.arange(11)), hashes[:11], SECTION),
    ]
    assert key not in {other.key for other in others}
    assert Layout.of(coco, hashes, ImageSection(min_size=24, max_size=64, cache="off")).key == key
    monkeypatch.setattr("trainers.dataset.pixels._decoders", lambda: ("another",))
    assert Layout.of(coco, hashes, SECTION).key != key


def test_each_read_is_compared_with_the_manifest(haven, coco):
    """An image that is replaced after the check is not decoded: the error is a mismatch and names the file."""
    dataset = open_dataset(haven.bag, haven.digest, haven.data)
    names = tuple(f"data/images/{name}" for name in coco.file_names)
    images = Decoded(dataset, names, Layout.of(coco, [dataset.manifest.hashes[name] for name in names], SECTION))
    assert images.read(3).shape == (24, 32, 3)
    whole = haven.image().read_bytes()
    haven.image().write_bytes(png(64, 48, seed=99))
    with pytest.raises(MismatchError, match=r"/3\.png: this file does not match the manifest"):
        images.read(3)
    haven.image().write_bytes(whole)
    images.read(3)
    haven.image().rename(haven.image("elsewhere.png"))
    haven.image().symlink_to("elsewhere.png")
    with pytest.raises(Exception, match=r"/3\.png: can't read this file"):
        images.read(3)
