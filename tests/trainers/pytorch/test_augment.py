"""Augmented images fit their augmented boxes."""

import numpy as np
import pytest
import torch

from trainers.config import AugmentationSection
from trainers.pytorch.augment import augmented
from trainers.training.augment import Augment, Augmentation

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
    boxes, kept = variation.boxes(np.array([box], np.float32))
    assert kept.tolist() == [True]
    assert boxes[0].tolist() == pytest.approx(bright(augmented(draw_image(box), variation)), abs=1)


def test_without_options_nothing_changes():
    """With all options off, an image and its boxes stay the same."""
    image, boxes = draw_image((3, 4, 9, 9)), np.array([[3.0, 4, 9, 9]], np.float32)
    variation = vary(augment(), boxes)
    assert torch.equal(augmented(image, variation), image)
    assert np.array_equal(variation.boxes(boxes)[0], boxes)


@pytest.mark.parametrize(
    "options",
    [{"flip": 1.0}, {"crop": 1.0}, {"scale": (0.5, 0.5)}, {"hue": 0.5}, {"contrast": 1.0}, {"crop": 1.0, "flip": 1.0}],
)
def test_images_stay_uint8_and_channels_last(options):
    """Whatever the options, the result has the same type and memory format as the input, and is no view of it."""
    image = draw_image((3, 4, 50, 44))
    varied = augmented(image, vary(augment(**options), [(3, 4, 50, 44)]))
    assert varied.dtype == torch.uint8
    assert varied.permute(1, 2, 0).is_contiguous()
    assert varied.untyped_storage().data_ptr() != image.untyped_storage().data_ptr()
    assert varied.untyped_storage().nbytes() == varied.numel()


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
    assert not torch.equal(augmented(image, vary(augment(**{option: change}))), image)


def test_brightness_is_that_of_torchvision():
    """A factor of 1.2 makes each value a fifth larger, up to 255."""
    image = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    variation = Augmentation((1, 256), (0, 0, 1, 256), (1, 256), flip=False, brightness=1.2)
    expected = (image.float() * 1.2).clamp(max=255)
    assert (augmented(image, variation).float() - expected).abs().max() <= 1
