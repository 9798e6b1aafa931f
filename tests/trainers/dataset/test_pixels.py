"""Decoded images: what is read from scratch is what the file shows, and a full disk costs time but no run."""

import io

import numpy as np
import pytest
from havens import png
from PIL import Image

from trainers.config import ImageSection
from trainers.dataset.coco import parse_coco
from trainers.dataset.pixels import BrokenImageError, Cached, CacheWriter, Decoded, Layout, cache_path, decode, scaled
from trainers.errors import TrainingError


def encoded(pixels, form="png", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


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


def test_a_image_is_decoded_to_its_pixels():
    """Without a change of size the pixels are those of the file, as height x width x 3."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (decode(encoded(pixels), (7, 5), (7, 5)) == pixels).all()
    assert decode(encoded(pixels), (7, 5), (14, 10)).shape == (10, 14, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_other_modes_become_rgb(mode):
    """Grey, palette and transparent images are three channels of uint8."""
    out = io.BytesIO()
    Image.new(mode, (6, 4)).save(out, "tiff" if mode == "CMYK" else "png")
    array = decode(out.getvalue(), (6, 4), (6, 4))
    assert (array.shape, array.dtype) == ((4, 6, 3), np.uint8)


def test_sixteen_bits_are_scaled_not_cut():
    """A 16-bit image keeps its upper 8 bits: it does not turn white."""
    array = decode(encoded(np.full((4, 4), 0x8000, np.uint16)), (4, 4), (4, 4))
    assert (array == 0x80).all()


def test_a_photograph_on_its_side_is_turned():
    """Where the COCO file has the upright size, the camera's note of how it was held is followed."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(np.zeros((4, 8, 3), np.uint8), "jpeg", exif=exif)
    assert decode(photo, (4, 8), (4, 8)).shape == (8, 4, 3)
    assert decode(photo, (8, 4), (8, 4)).shape == (4, 8, 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it does not decode"),
        (b"<html>not found</html>", "it does not decode"),
        (png(64, 48)[:3000], "it does not decode"),
        (png(64, 48)[:-40] + b"\0" * 40, "it does not decode"),
        (png(64, 40), "expected 64 x 48 pixels, found 64 x 40"),
        (png(48, 64), "expected 64 x 48 pixels, found 48 x 64"),
    ],
)
def test_a_broken_image_says_what_is_wrong(content, found):
    """What does not decode, or has another size than its COCO row, is refused with both sizes."""
    with pytest.raises(BrokenImageError, match=found):
        decode(content, (64, 48), (64, 48))


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
