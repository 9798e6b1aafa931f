"""Augmentation keeps boxes on their objects and stays within its limits."""

import numpy as np
import pytest
import torch

from trainers.config import AugmentationSection
from trainers.pytorch.augment import Augment, Augmentation

NOTHING = {"flip": 0.0, "scale": (1, 1), "crop": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
SIZE = (60, 80)


def augment(**options) -> Augment:
    return Augment(AugmentationSection(**{**NOTHING, **options}))


def vary(augment: Augment, boxes=(), seed: int = 0, size=SIZE) -> Augmentation:
    draw = np.random.default_rng(seed)
    return augment.draw(size, np.asarray(boxes, np.float32).reshape(-1, 4), augment.scale(draw), draw)


def draw_image(box, size=SIZE):
    """Draw a dark image with a bright rectangle, in channels_last memory."""
    left, top, right, bottom = box
    image = torch.zeros((*size, 3), dtype=torch.uint8)
    image[top:bottom, left:right] = 250
    return image.permute(2, 0, 1)


def bright(image):
    """Return the box of the bright part of an image."""
    rows, columns = (torch.nonzero((image[0] > 125).any(dim)).flatten() for dim in (1, 0))
    return [columns[0].item(), rows[0].item(), columns[-1].item() + 1, rows[-1].item() + 1]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "options", [{"flip": 1.0}, {"scale": (0.5, 2)}, {"crop": 1.0}, {}, {"flip": 0.5, "scale": (0.5, 2), "crop": 1.0}]
)
def test_a_box_stays_around_its_object(options, seed):
    """The object is in the box before and after, to a pixel, since resizing softens edges."""
    box = (21, 12, 52, 40)
    variation = vary(augment(**options), [box], seed)
    boxes, kept = variation.boxes(torch.tensor([box], dtype=torch.float32))
    assert kept.tolist() == [True]
    assert boxes[0].tolist() == pytest.approx(bright(variation.image(draw_image(box))), abs=1)


def test_without_options_nothing_changes():
    """With all options off, an image and its boxes stay the same."""
    image, boxes = draw_image((3, 4, 9, 9)), torch.tensor([[3.0, 4, 9, 9]])
    variation = vary(augment(), boxes.numpy())
    assert torch.equal(variation.image(image), image)
    assert torch.equal(variation.boxes(boxes)[0], boxes)


@pytest.mark.parametrize(
    "options",
    [{"flip": 1.0}, {"crop": 1.0}, {"scale": (0.5, 0.5)}, {"hue": 0.5}, {"contrast": 1.0}, {"crop": 1.0, "flip": 1.0}],
)
def test_images_stay_uint8_and_channels_last(options):
    """Whatever the options, the result has the same type and memory format as the input, and is no view of it."""
    image = draw_image((3, 4, 50, 44))
    varied = vary(augment(**options), [(3, 4, 50, 44)]).image(image)
    assert varied.dtype == torch.uint8
    assert varied.permute(1, 2, 0).is_contiguous()
    assert varied.untyped_storage().data_ptr() != image.untyped_storage().data_ptr()
    assert varied.untyped_storage().nbytes() == varied.numel()


@pytest.mark.parametrize("seed", range(30))
def test_a_crop_keeps_a_box(seed):
    """A crop is inside the image, at least half of each side, and holds the centre of a box."""
    boxes = np.array([[0, 0, 6, 6], [70, 50, 80, 60], [30, 1, 34, 59]], np.float32)
    variation = vary(augment(crop=1.0), boxes, seed)
    top, left, height, width = variation.crop
    assert 0 <= top <= top + height <= 60
    assert 0 <= left <= left + width <= 80
    assert height >= 30
    assert width >= 40
    left_over, kept = variation.boxes(torch.tensor(boxes))
    assert len(left_over) == kept.sum() >= 1
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - (left, top)
    inside = ((centres >= 0) & (centres <= (width, height))).all(1)
    assert kept.tolist() == inside.tolist()
    assert (left_over >= 0).all()
    assert (left_over <= torch.tensor([width, height, width, height])).all()


def test_an_image_without_boxes_is_cropped_too():
    """There is no centre to keep, and the crops come from everywhere."""
    starts = {vary(augment(crop=1.0), seed=seed).crop[:2] for seed in range(20)}
    assert len(starts) > 10
    boxes, kept = vary(augment(crop=1.0, flip=1.0, scale=(0.5, 0.5))).boxes(torch.empty(0, 4))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == torch.float32
    assert kept.shape == (0,)


def test_boxes_that_become_too_small_are_dropped():
    """A box with a side of at most a pixel is no target; the mask for the labels says which remain."""
    boxes, kept = vary(augment(scale=(0.5, 0.5))).boxes(torch.tensor([[4.0, 4, 6, 20], [4, 4, 6.5, 20]]))
    assert kept.tolist() == [False, True]
    assert boxes.tolist() == [[2, 2, 3.25, 10]]


def test_boxes_over_the_edge_are_clamped():
    """A box never leaves its image."""
    boxes, _ = vary(augment(flip=1.0)).boxes(torch.tensor([[-5.0, 10, 30, 70]]))
    assert boxes.tolist() == [[50, 10, 80, 60]]


@pytest.mark.parametrize(
    ("option", "change"), [("brightness", 0.4), ("contrast", 0.4), ("saturation", 0.4), ("hue", 0.2)]
)
def test_colours_change_within_bounds(option, change):
    """Each option draws its own factor, up and down but within its limit, and changes the image."""
    drawn = [getattr(vary(augment(**{option: change}), seed=seed), option) for seed in range(200)]
    rest = 0 if option == "hue" else 1
    assert rest - change <= min(drawn) < rest - change * 0.9
    assert rest + change * 0.9 < max(drawn) <= rest + change
    image = torch.randint(0, 256, (*SIZE, 3), dtype=torch.uint8).permute(2, 0, 1)
    assert not torch.equal(vary(augment(**{option: change})).image(image), image)


def test_brightness_is_that_of_torchvision():
    """A factor of 1.2 makes each value a fifth larger, up to 255."""
    image = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    variation = Augmentation((1, 256), (0, 0, 1, 256), (1, 256), flip=False, brightness=1.2)
    expected = (image.float() * 1.2).clamp(max=255)
    assert (variation.image(image).float() - expected).abs().max() <= 1


def test_flips_have_the_configured_probability():
    """The share of mirrored images is the probability."""
    flips = [vary(augment(flip=0.3), seed=seed).flip for seed in range(600)]
    assert np.mean(flips) == pytest.approx(0.3, abs=0.06)
