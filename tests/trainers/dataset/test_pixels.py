"""Decoded images: what is read from scratch is what the file shows, and a full disk costs time but no run."""

import numpy as np
import pytest

from trainers.config import ImageSection
from trainers.dataset.coco_file import parse_coco
from trainers.dataset.pixels import Cached, CacheWriter, Decoded, Layout, cache_path, scaled
from trainers.errors import TrainingError


@pytest.fixture
def layout(haven):
    coco = parse_coco(haven.files["train.json"], "train.json")
    return Layout.of(coco, haven.digest, ImageSection(min_size=24, max_size=64))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (1333, 749)), ((720, 486), (1185, 800)), ((800, 800), (800, 800)), ((100, 5000), (26, 1333))],
)
def test_sizes_are_those_of_torchvision(size, expected):
    """Images are scaled as in torchvision: shorter side 800, longer at most 1333, rounded down."""
    assert tuple(scaled(np.array([size], np.int32), 800, 1333)[0]) == expected


def test_cached_and_decoded_pixels_are_equal(haven, layout):
    """An image read from the cache has exactly the pixels of a decoded one."""
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


def test_a_truncated_cache_is_not_opened(haven, layout):
    """An incomplete file of decoded images counts as none."""
    path = cache_path(haven.scratch, layout)
    path.write_bytes(b"\0" * (layout.bytes - 1))
    assert Cached.open(path, layout) is None


def test_another_dataset_or_size_has_another_cache(haven, layout):
    """The name of the file depends on the dataset, the images and their sizes."""
    coco = parse_coco(haven.files["train.json"], "train.json")
    assert Layout.of(coco, "sha256:other", ImageSection(min_size=24, max_size=64)).key != layout.key
    assert Layout.of(coco, haven.digest, ImageSection(min_size=25, max_size=64)).key != layout.key
    assert Layout.of(coco.keep(np.arange(11)), haven.digest, ImageSection(min_size=24, max_size=64)).key != layout.key


def test_an_image_that_breaks_later_is_named(haven, layout):
    """An image that breaks after the check stops the run with an error that names it."""
    haven.image("0.png").write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"0\.png: can't use this image"):
        Decoded((haven.image("0.png"),), layout).read(0)
