"""The plots of COCO files: what they say of small known data."""

import re

import numpy as np
import pytest

from datapack.inspect.model import ImageFile
from datapack.report.bins import Bins, count_bins
from datapack.report.coco_boxes import (
    box_positions,
    box_sizes,
    boxes_per_category,
    boxes_per_image,
    category_table,
    resized_sides,
)
from datapack.report.coco_images import image_sizes, sequence_plot, shape_plot, size_plot
from datapack.report.coco_lists import Lists
from tests.report.surveys import a_coco, a_survey

SMALL = (0, 0, 10, 10)


def lists(*cocos) -> Lists:
    return Lists.of(a_survey(*cocos))


def texts(svg: str) -> list[str]:
    """The texts that a plot shows, without its tips."""
    return re.findall("<text[^>]*>([^<]*)", svg)


def tips(svg: str) -> list[str]:
    return re.findall("><title>([^<]*)", svg)


def test_categories_are_counted_by_list():
    """A bar for each category, the largest first, in the colours of the lists; unused ones are named."""
    train = a_coco("train.json", categories=("fish", "crab", "eel"), boxes=[(0, 0, SMALL)] * 3 + [(1, 1, SMALL)])
    val = a_coco("val.json", categories=("crab", "fish"), boxes=[(0, 1, SMALL)])
    plot = boxes_per_category(lists(train, val))
    assert texts(plot.svg) == ["train.json", "val.json", "fish", "4", "crab", "1", "eel", "0"]
    assert tips(plot.svg)[1:] == ["train.json: 3", "val.json: 1", "train.json: 1"]
    assert plot.conclusion == (
        "fish has 80 % of the boxes, crab 20 %; 2 categories have under 20 boxes, too few for a score that means "
        'something. 1 category has no box: "eel".'
    )
    table = category_table(lists(train, val))
    rows = [[str(cell) if not isinstance(cell, tuple) else cell.text for cell in row] for row in table.rows]
    assert rows[0] == ["<bdi>fish</bdi>", "4", "80 %", "2", "3", "1"]
    assert rows[2] == ["<bdi>eel</bdi>", "0", "0 %", "0", "0", "0"]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((30,), "There is only one category, c0."),
        ((0, 0), "No category has a box: this data can't train a detector."),
        ((30, 30), "c0 has 50 % of the boxes, c1 50 %: they are balanced."),
        ((400, 30), "its average hides the rare ones."),
    ],
)
def test_what_to_conclude_from_categories(counts, words):
    """Balance, rarity and emptiness each have their sentence."""
    boxes = [(0, label, SMALL) for label, count in enumerate(counts) for _ in range(count)]
    coco = a_coco(categories=tuple(f"c{number}" for number in range(len(counts))), boxes=boxes)
    assert boxes_per_category(lists(coco)).conclusion.endswith(words)


def test_boxes_of_each_image_are_counted():
    """Images without boxes, crowded ones and the middle are named."""
    images = {f"{number}.png": (800, 800) for number in range(5)}
    boxes = [(0, 0, SMALL)] * 150 + [(1, 0, SMALL)] * 2 + [(2, 0, SMALL)] * 2
    plot = boxes_per_image(lists(a_coco(images=images, boxes=boxes)))
    assert plot.conclusion == (
        "Half of the images have at most 2 boxes; the fullest has 150. 1 image has over 100, more than COCO's scores "
        "count. 2 images have none (40 %): make sure that they are really empty."
    )
    assert tips(plot.svg)[1:] == ["0: 2", "2: 2", "101–150: 1"]  # noqa: RUF001


def test_sizes_are_those_that_a_detector_sees():
    """A box's side is the root of its area, times the scale that makes the image's short side 800 or its long 1333."""
    boxes = [(0, 0, (0, 0, 20, 5)), (1, 0, (0, 0, 8, 8)), (2, 0, (0, 0, 20, 20)), (0, 0, (5, 5, 0, 9))]
    images = {"square": (400, 400), "wide": (2666, 800), "large": (1600, 1600)}
    found = lists(a_coco(images=images, boxes=boxes))
    assert resized_sides(found.boxes["train.json"]).tolist() == pytest.approx([20, 4, 10])
    plot = box_sizes(found)
    assert plot.conclusion == (
        "Once images are 800 pixels on their short side, 2 of 3 boxes (67 %) are under 16 pixels, and 1 of these under "
        "8: a detector will miss many of them; train on larger images, or on parts of them."
    )
    assert tips(plot.svg)[1:] == ["0–8: 1", "8–16: 1", "16–32: 1"]  # noqa: RUF001


def test_boxes_that_are_large_enough_are_called_so():
    """Without a small box the sentence says that none is."""
    assert box_sizes(lists(a_coco())).conclusion.endswith("the box has 16 pixels or more: large enough.")


def test_sizes_come_from_the_image_where_the_list_has_none():
    """A COCO file may leave out width and height."""
    coco = a_coco(images={"1.png": (0, 0)}, boxes=[(0, 0, (0, 0, 40, 40))])
    files = {"images/1.png": ImageFile("images/1.png", "JPEG", 800, 400, orientation=6)}
    assert Lists((coco,), files).sizes(coco).tolist() == [[400, 800]]


def test_positions_are_those_of_the_centres():
    """Centres count in cells of the image; the share in its middle says whether they are spread."""
    boxes = [(0, 0, (390, 390, 20, 20))] * 3 + [(0, 0, (0, 0, 20, 20))]
    plot = box_positions(lists(a_coco(boxes=boxes)))
    assert plot.conclusion.startswith("The middle ninth of the image has 75 % of the box centres (11 % if they were")
    assert "often centred" in plot.conclusion
    assert texts(plot.svg) == ["0", "3 in one cell"]
    assert len(re.findall("M[0-9. ]+h", plot.svg)) == 2


def test_image_sizes_and_shapes():
    """Sizes are those of the images on disk, as viewers show them."""
    survey = a_survey(a_coco(images={"1.png": (400, 200), "2.png": (400, 200), "3.png": (100, 200)}))
    sizes = image_sizes(survey, Lists.of(survey))
    assert sizes == {(400, 200): 2, (100, 200): 1}
    assert "the most common: 400 × 200 (67 %), 100 × 200 (33 %)" in size_plot(sizes).conclusion  # noqa: RUF001
    assert "The largest image has 4 times the pixels of the smallest" in size_plot(sizes).conclusion
    assert shape_plot(sizes).conclusion == (
        "Width by height goes from 0.50 to 2.00; some images are wide and some high: group them by shape in training."
    )


def test_image_sizes_without_images_are_those_of_the_list():
    """Labels may be in a dataset without their images."""
    survey = a_survey(a_coco())
    empty = survey.__class__(survey.digest, (), (), survey.cocos, (), {})
    assert image_sizes(empty, Lists.of(empty)) == {(800, 800): 2}


def test_a_sequence_in_two_lists_is_named():
    """Frames of one dive in train and val make a score too good; otherwise the lists are called fair."""
    train = a_coco("train.json", sequences=["dive 1", "dive 2"])
    val = a_coco("val.json", sequences=["dive 2", "dive 3"])
    text = sequence_plot(lists(train, val)).conclusion
    assert text.startswith(
        "3 sequences; half of them have at most 1 image. 1 sequence is in several COCO files, such as"
    )
    assert "dive 2" in text
    assert "split by sequence" in text
    other = a_coco("val.json", sequences=["dive 3", "dive 3"])
    assert "None is in several COCO files" in sequence_plot(lists(train, other)).conclusion
    assert sequence_plot(lists(a_coco())) is None


def test_an_image_in_several_lists_counts_once():
    """The overview counts images, and says how many are in several files."""
    found = lists(a_coco("all.json"), a_coco("train.json", images={"1.png": (800, 800)}))
    assert (found.images, found.repeated) == (2, 1)


def test_bins_hold_every_value():
    """Whatever the largest value is, no value falls out."""
    rng = np.random.default_rng(0)
    for most in (0, 1, 5, 99, 12_345, 10**9):
        values = rng.integers(0, most + 1, 1000)
        bins = count_bins(int(values.max()))
        assert bins.count(values).sum() == 1000
        assert len(bins.starts) == len(bins.labels)
    assert Bins((0, 8), ("0", "8")).count(np.array([-3.0, 8.0, 1e300])).tolist() == [1, 2]
