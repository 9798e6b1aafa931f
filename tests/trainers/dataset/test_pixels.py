"""Decoded images: what is read from scratch is what the file shows, and a full disk costs time but no run."""

import numpy as np
import pytest

from trainers.config import ImageSection
from trainers.dataset.coco import parse_coco
from trainers.dataset.pixels import Cached, CacheWriter, Decoded, Layout, cache_path, scaled
from trainers.errors import TrainingError


@pytest.fixture
def layout(haven):
    coco, _ = parse_coco(haven.files["train.json"], "train.json")
    return Layout.of(coco, haven.digest, ImageSection(min_size=24, max_size=64))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (1333, 749)), ((720, 486), (1185, 800)), ((800, 800), (800, 800)), ((100, 5000), (26, 1333))],
)
def test_sizes_are_torchvisions(size, expected):
    """An image is scaled as torchvision's detectors do: shorter side 800, longer at most 1333, rounded down."""
    assert tuple(scaled(np.array([size], np.int32), 800, 1333)[0]) == expected


def test_the_cache_gives_what_decoding_gives(haven, layout):
    """An image read from the cache has the very pixels of one that is decoded anew."""
    paths = tuple(haven.image(f"{i}.png") for i in range(12))
    decoded = Decoded(paths, layout)
    writer = CacheWriter.create(haven.scratch, layout)
    assert writer.path.stat().st_size == layout.bytes
    for place in reversed(range(12)):
        writer.write(place, decoded.read(place))
    assert Cached.open(cache_path(haven.scratch, layout), layout) is None
    assert writer.finish()
    cached = Cached.open(cache_path(haven.scratch, layout), layout)
    for place in range(12):
        assert (cached.read(place) == decoded.read(place)).all()
        assert cached.read(place).shape == (24, 32, 3)
    assert [path.name for path in haven.scratch.iterdir()] == [cache_path(haven.scratch, layout).name]


def test_a_cut_cache_is_none(haven, layout):
    """A file of decoded images that is not whole is not opened."""
    path = cache_path(haven.scratch, layout)
    path.write_bytes(b"\0" * (layout.bytes - 1))
    assert Cached.open(path, layout) is None


def test_another_dataset_or_size_has_another_cache(haven, layout):
    """The file's name says which dataset, which images and which sizes it holds."""
    coco, _ = parse_coco(haven.files["train.json"], "train.json")
    assert Layout.of(coco, "sha256:other", ImageSection(min_size=24, max_size=64)).key != layout.key
    assert Layout.of(coco, haven.digest, ImageSection(min_size=25, max_size=64)).key != layout.key
    assert Layout.of(coco.keep(np.arange(11)), haven.digest, ImageSection(min_size=24, max_size=64)).key != layout.key


def test_a_image_that_breaks_later_is_named(haven, layout):
    """An image that goes bad between the check and an epoch stops the run with its path."""
    haven.image("0.png").write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"0\.png: an image can't be used"):
        Decoded((haven.image("0.png"),), layout).read(0)
