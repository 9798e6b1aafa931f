"""Samples: which images a page shows, whether it may, and how their boxes lie on them."""

import io
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from datapack.catalog.model import Dataset
from datapack.inspect.model import ImageFile, Survey
from datapack.report.choice import ENOUGH, MOST, Chosen, categories_shown, choose
from datapack.report.coco_lists import Lists
from datapack.report.samples import SIDE, draw, why_not
from tests.report.surveys import DIGEST, EVIL, a_coco, a_page, a_survey

SMALL = (10, 10, 20, 20)


def dataset(licence: str = "CC-BY-4.0", private: bool = False) -> Dataset:
    return Dataset.model_validate(
        {"title": "t", "licence": licence, "private": private, "versions": {"v1": {"sources": [{"local": "x"}]}}}
    )


@pytest.mark.parametrize(
    ("licence", "private", "samples", "words"),
    [
        ("CC-BY-4.0", False, None, ""),
        ("CC-BY-NC-ND-4.0 AND CC-BY-ND-4.0", False, None, "does not allow changed copies"),
        ("Creative Commons, no derivatives", False, None, "does not allow changed copies"),
        ("LicenseRef-Band-AND-Indigo", False, None, ""),
        ("CC-BY-4.0", True, None, "the dataset is private"),
        ("CC-BY-ND-4.0", True, True, ""),
        ("CC-BY-4.0", False, False, "--no-samples"),
    ],
)
def test_whether_a_page_may_show_images(licence, private, samples, words):
    """Not of private data or under a licence with ND, unless somebody says so; never if somebody says no."""
    found = why_not(dataset(licence, private), samples)
    assert words in found
    assert bool(found) == bool(words)


def test_every_category_is_shown():
    """The choice begins with the rarest category, takes images that are not too full, and is always the same."""
    images = {f"{number:02}.png": (100, 100) for number in range(60)}
    boxes = [(0, label, SMALL) for label in range(5)] * 20  # one image is full of all of them
    boxes += [(number, number % 5, SMALL) for number in range(1, 60)]
    survey = a_survey(a_coco(images=images, boxes=boxes, categories=tuple("abcde")))
    found = choose(survey, Lists.of(survey))
    assert categories_shown(found) == set("abcde")
    assert len(found) == ENOUGH == len({each.path for each in found})
    assert "images/00.png" not in [each.path for each in found[:5]]
    assert [each.path for each in found] == [each.path for each in choose(survey, Lists.of(survey))]


def test_of_5000_categories_a_page_shows_as_many_as_it_can():
    """The number of samples has a limit."""
    images = {f"{number}.png": (100, 100) for number in range(5000)}
    coco = a_coco(
        images=images, boxes=[(n, n, SMALL) for n in range(5000)], categories=tuple(str(n) for n in range(5000))
    )
    survey = a_survey(coco)
    assert len(choose(survey, Lists.of(survey))) == MOST


def test_images_without_a_list_are_shown_too():
    """Without boxes the samples are spread over all images; broken ones are left out."""
    images = tuple(
        ImageFile(f"{number:03}.png", "PNG", 10, 10, problem="cut off" * (number < 50)) for number in range(100)
    )
    survey = Survey(DIGEST, {}, images, (), (), {})
    found = [each.path for each in choose(survey, Lists.of(survey))]
    assert len(found) == ENOUGH
    assert min(found) >= "050.png"
    assert max(found) >= "095.png"


def write(bag, path, image, **options):
    file = bag / "data" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)


def thumbnail(sample) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(sample.source.partition(",")[2])))


def drawn(bag, images, coco=None):
    chosen = [Chosen(image.path, coco, row if coco else -1) for row, image in enumerate(images)]
    return draw(bag, chosen, images, Lists((coco,) if coco else (), {}))


def test_a_sample_is_small_and_has_no_metadata(tmp_path):
    """A large image becomes a JPEG of 400 pixels without EXIF, at most tens of kB."""
    noise = np.random.default_rng(0).integers(0, 255, (1200, 2000, 3), np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "secret position"
    write(tmp_path, "a.jpg", Image.fromarray(noise), exif=exif)
    (sample,) = drawn(tmp_path, [ImageFile("a.jpg", "JPEG", 2000, 1200)]).samples
    assert thumbnail(sample).size == (SIDE, 240)
    assert b"secret" not in b64decode(sample.source.partition(",")[2])
    assert len(sample.source) < 120_000


@pytest.mark.parametrize(("listed", "turned"), [((40, 80), False), ((80, 40), True), ((0, 0), True)])
def test_a_turned_image_is_shown_as_its_boxes_were_drawn(tmp_path, listed, turned):
    """The size in the COCO file says whether boxes are on the image as stored, or as viewers turn it."""
    exif = Image.Exif()
    exif[274] = 6
    write(tmp_path, "a.jpg", Image.new("RGB", (40, 80)), exif=exif)
    coco = a_coco(images={"a.jpg": listed}, boxes=[(0, 0, SMALL)])
    (sample,) = drawn(tmp_path, [ImageFile("a.jpg", "JPEG", 40, 80, orientation=6)], coco).samples
    assert thumbnail(sample).size == ((80, 40) if turned else (40, 80))
    assert (sample.width, sample.height) == ((80, 40) if turned else (40, 80))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_pixel_can_be_shown(tmp_path, mode):
    """16 bits and measured values are spread from black to white; transparent parts are grey."""
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    deep = Image.fromarray(values.astype(np.uint16) * 200)
    write(tmp_path, "a.tif", deep if mode == "I;16" else Image.fromarray(values).convert(mode))
    (sample,) = drawn(tmp_path, [ImageFile("a.tif", "TIFF", 8, 8)]).samples
    pixels = np.asarray(thumbnail(sample).convert("L")).astype(int)
    assert pixels.max() - pixels.min() > 100


def test_an_image_that_cannot_be_decoded_is_left_out(tmp_path):
    """A header may be sound where the pixels are not."""
    write(tmp_path, "a.png", Image.effect_noise((64, 64), 50))
    file = tmp_path / "data/a.png"
    file.write_bytes(file.read_bytes()[:500])
    assert drawn(tmp_path, [ImageFile("a.png", "PNG", 64, 64)]).samples == ()


def test_all_samples_together_have_a_limit(tmp_path):
    """Whatever the images are, a page with samples stays under 5 MB."""
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    images = []
    for number in range(MOST):
        write(tmp_path, f"{number}.png", Image.fromarray(noise + number))
        images.append(ImageFile(f"{number}.png", "PNG", 400, 400))
    shown = drawn(tmp_path, images)
    assert 1_000_000 < sum(len(sample.source) for sample in shown.samples) < 4_500_000


def test_boxes_lie_on_the_samples(tmp_path):
    """They are drawn in the pixels of the whole image, with their categories as text."""
    write(tmp_path, "images/1.png", Image.new("RGB", (800, 600)))
    coco = a_coco(
        images={"1.png": (800, 600)},
        boxes=[(0, 0, (10, 20, 30, 40)), (0, 1, (1, 2, 0, 4)), (0, -1, (5, 5, 9, 9))],
        categories=(EVIL, "crab"),
    )
    shown = drawn(tmp_path, [ImageFile("images/1.png", "PNG", 800, 600)], coco)
    page = a_page(a_survey(coco), shown=shown)
    assert 'viewBox="0 0 800 600"' in page.html
    assert 'x="10" y="20" width="30" height="40"' in page.html
    assert page.html.count("non-scaling-stroke") == 2
    assert page.tags.count("img") == 1
    assert "This page shows 1 image of the data." in page.text
    assert "Every category that has a box is on one of them." in page.text


def test_a_page_with_images_of_private_data_says_so(tmp_path):
    """Its notice asks to treat the page like the data."""
    write(tmp_path, "images/1.png", Image.new("RGB", (80, 60)))
    shown = drawn(tmp_path, [ImageFile("images/1.png", "PNG", 80, 60)])
    page = a_page(a_survey(a_coco()), shown=shown, private=True)
    assert "which is private: treat the page like the data" in page.text
