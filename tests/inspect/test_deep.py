"""What only pixels show: images that can't be decoded, that are blurred, dark or plain, and that are almost alike."""

import dataclasses
import io
import os
import random
import signal
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from datapack.bag.bagit import Bag
from datapack.errors import BagError
from datapack.inspect import deep, pixels
from datapack.inspect.deep import read_deep
from datapack.inspect.images import read_images
from datapack.inspect.likeness import bits_set, near_pairs
from datapack.progress import Silent
from tests.bags import write_bag

REEF = Path(__file__).parents[2] / "examples/reef"


def natural(seed, size=(640, 480), contrast=40, centre=110):
    """An image with the spectrum of natural ones: the finer a detail, the weaker."""
    draw, (width, height) = np.random.default_rng(seed), size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    frequency[0, 0] = 1
    values = np.fft.irfft2(np.fft.rfft2(draw.standard_normal((height, width))) / frequency, (height, width))
    values = centre + contrast * (values - values.mean()) / values.std()
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def encode(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def decoded(folder, **files):
    """Make a bag of some files and decode its images; return them by name."""
    write_bag(folder, {name.replace("__", "."): content for name, content in files.items()})
    bag = Bag.open(folder)
    found = read_deep(bag, read_images(bag, Silent()), Silent())
    assert [image.path for image in found] == sorted(image.path for image in found)
    return {image.path: image for image in found}


def distance(one, other):
    return (one.likeness ^ other.likeness).bit_count()


def test_every_mode_and_form(tmp_path):
    """16 bits, palettes, CMYK, fractions and animations give nearly the same as 8 bits of grey."""
    image = natural(1)
    values = np.asarray(image)
    files = {"a_L__png": encode(image), "b__jpg": encode(image, "JPEG"), "c__webp": encode(image, "WEBP")}
    files |= {"d__tif": encode(Image.fromarray(values.astype(np.uint16) * 257), "TIFF"), "e__bmp": encode(image, "BMP")}
    files |= {"f__jpg": encode(image.convert("CMYK"), "JPEG"), "g__gif": encode(image.convert("P"), "GIF")}
    files |= {
        "h__png": encode(Image.fromarray(values.astype(np.uint16) * 257)),
        "i__png": encode(image.convert("RGBA")),
    }
    files |= {"j__gif": encode(image, "GIF", save_all=True, append_images=[natural(2)]), "k__ppm": encode(image, "PPM")}
    files |= {"l__tif": encode(image.convert("F"), "TIFF"), "m__tif": encode(image.convert("I"), "TIFF")}
    found = decoded(tmp_path, **files)
    assert len(found) == len(files)
    plain = found["a_L.png"]
    for name, other in found.items():
        assert (other.problem, distance(plain, other) <= 2) == ("", True), name
        if name[0] not in "lm":  # whose range is not known
            assert abs(other.brightness - plain.brightness) < 0.02, name


def test_results_are_the_same_every_time(tmp_path):
    """Hash and figures are part of the findings: these were computed on another machine."""
    gradient = np.add.outer(np.arange(240) ** 2 // 300, np.arange(320) // 4).astype(np.uint8)
    (image,) = decoded(tmp_path, a__png=encode(Image.fromarray(gradient))).values()
    assert dataclasses.astuple(image) == GOLDEN


GOLDEN = ("a.png", 794287474516950912, 130.61, 0.3991, 0.2394, "")


CHANGES = {
    "JPEG of low quality": (lambda image: Image.open(io.BytesIO(encode(image, "JPEG", quality=30))), 2),
    "half the size": (lambda image: image.resize((320, 240)), 2),
    "another size": (lambda image: image.resize((533, 400), Image.Resampling.LANCZOS), 2),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.15), 2),
    "less contrast": (lambda image: ImageEnhance.Contrast(image).enhance(0.7), 2),
    "cut by 2 % at each side": (lambda image: image.crop((13, 10, 627, 470)), 6),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_are_almost_alike(change):
    """What an export or a copy does to an image changes few bits."""
    make, most = CHANGES[change]
    for seed in range(10):
        image = natural(seed)
        assert distance(pixels.measure(image), pixels.measure(make(image).convert("L"))) <= most


def test_different_images_are_not_alike():
    """Neither natural ones, nor drawings of the same reef, nor an image and its mirror image."""
    natural_ones = [pixels.measure(natural(seed)) for seed in range(30)]
    drawn = [pixels.measure(Image.open(path).convert("L")) for path in sorted(REEF.glob("images/*.png"))]
    assert len(drawn) == 72
    for images in (natural_ones, drawn):
        assert min(distance(one, other) for at, one in enumerate(images) for other in images[:at]) >= 12
    mirrored = pixels.measure(natural(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert distance(natural_ones[1], mirrored) > 12


def test_sharpness_brightness_contrast():
    """They fall and rise with what they are named after."""
    image = natural(1)
    sharp, blurred = pixels.measure(image), pixels.measure(image.filter(ImageFilter.GaussianBlur(5)))
    assert sharp.sharpness > 100
    assert 0 < blurred.sharpness < 5
    assert pixels.measure(Image.new("L", (99, 9), 51)).brightness == 0.2
    assert pixels.measure(Image.new("L", (99, 9), 51)).contrast == 0
    half = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 50, axis=1))
    assert pixels.measure(half).contrast == 0.5
    assert pixels.measure(Image.new("L", (1, 1))).sharpness == 0


def bomb(side=13_000):
    """A PNG of nearly as many pixels as an image may have, all black, in 200 kB."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_broken_images_are_problems(tmp_path):
    """Pixels that are damaged or missing; the others are measured all the same."""
    png, cut = bytearray(encode(natural(1))), encode(natural(1), "JPEG2000")[:-9000]
    png[20_000:20_100] = bytes(100)
    found = decoded(tmp_path, a__png=bytes(png), b__jp2=cut, c__png=encode(natural(2)), d__png=bomb())
    assert found["a.png"].problem.startswith("can't be decoded: ")
    assert found["b.jp2"].problem.startswith("can't be decoded: ")
    assert (found["c.png"].problem, found["d.png"].problem, found["d.png"].contrast) == ("", "", 0)


def test_an_image_that_ends_the_process_is_a_problem(tmp_path, monkeypatch):
    """Another process goes on with the others, and only that image is named."""
    names = [f"{number:02}.png" for number in range(20)]
    write_bag(tmp_path, dict.fromkeys(names, encode(natural(1, (64, 48)))))
    bag = Bag.open(tmp_path)
    images = read_images(bag, Silent())
    (tmp_path / "data/07.png").unlink()
    os.mkfifo(tmp_path / "data/07.png")  # waits until the alarm
    monkeypatch.setattr(deep, "_SECONDS", 1)
    started = time.monotonic()
    found = read_deep(bag, images, Silent())
    assert [image.path for image in found] == names
    assert [image.path for image in found if image.problem] == ["07.png"]
    assert "takes more than" in found[7].problem
    assert time.monotonic() - started < 30


def test_a_killed_process_is_replaced(tmp_path, monkeypatch):
    """As where the system ends the one that takes the most memory."""
    write_bag(tmp_path, {f"{number:02}.png": encode(natural(number, (64, 48))) for number in range(30)})
    bag = Bag.open(tmp_path)
    images = read_images(bag, Silent())
    killed = []
    ask = deep._Worker.ask

    def kill_first(worker, paths):
        if worker._process and not killed:
            killed.append(worker._process.pid)
            os.kill(worker._process.pid, signal.SIGKILL)
        return ask(worker, paths)

    monkeypatch.setattr(deep._Worker, "ask", kill_first)
    found = read_deep(bag, images, Silent())
    assert killed
    assert [image.problem for image in found] == [""] * 30


def test_no_process_can_be_started(tmp_path, monkeypatch):
    """That is one error, and not thousands of broken images."""
    write_bag(tmp_path, {"a.png": encode(natural(1))})
    bag = Bag.open(tmp_path)
    images = read_images(bag, Silent())
    monkeypatch.setattr(deep.sys, "executable", "/bin/false")
    with pytest.raises(BagError, match="can't start a process to decode images"):
        read_deep(bag, images, Silent())


def test_no_images(tmp_path):
    """Nothing is started."""
    assert decoded(tmp_path, a__txt=b"no image") == {}


def all_pairs(hashes, most):
    return {(i, j) for i in range(len(hashes)) for j in range(i) if (hashes[i] ^ hashes[j]).bit_count() <= most}


@pytest.mark.parametrize("most", [0, 1, 3, 6, 8])
def test_near_pairs_are_those_of_all_comparisons(most):
    """No pair is lost, and none is made up."""
    draw = random.Random(1)
    hashes = [draw.getrandbits(64) for _ in range(100)]
    for _ in range(300):
        changed = draw.choice(hashes)
        for _ in range(draw.randrange(10)):
            changed ^= 1 << draw.randrange(64)
        hashes.append(changed)
    found = set()
    for one, two in near_pairs(np.array(hashes, np.uint64), most):
        found |= {(max(pair), min(pair)) for pair in zip(one.tolist(), two.tolist(), strict=True)}
    assert found == all_pairs(hashes, most)
    assert len(found) > 10


def test_bits_set():
    values = [0, 1, 2**64 - 1, 0x8000000000000001, 0x0F0F]
    assert bits_set(np.array(values, np.uint64)).tolist() == [value.bit_count() for value in values]


def test_a_hundred_thousand_hashes_take_seconds():
    """Also where a tenth of them are frames of one scene, or all are the same."""
    draw = np.random.default_rng(1)
    hashes = draw.integers(0, 2**64, 100_000, np.uint64)
    hashes[:10_000] = hashes[0] ^ (np.uint64(1) << draw.integers(0, 64, 10_000, np.uint64))
    for values in (hashes, np.full(100_000, 7, np.uint64)):
        started = time.process_time()
        assert sum(len(one) for one, _ in near_pairs(values, 6)) > 9999
        assert time.process_time() - started < 30
