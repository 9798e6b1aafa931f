"""The draws of augmentation stay within their limits, and keep boxes on their objects."""

import numpy as np
import pytest

from trainers.config import AugmentationSection
from trainers.training.augment import Augment, Augmentation

NOTHING = {"flip": 0.0, "scale": (1, 1), "crop": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
SIZE = (60, 80)


def augment(**options) -> Augment:
    return Augment(AugmentationSection(**{**NOTHING, **options}))


def vary(augment: Augment, boxes=(), seed: int = 0, size=SIZE) -> Augmentation:
    draw = np.random.default_rng(seed)
    return augment.draw(size, np.asarray(boxes, np.float32).reshape(-1, 4), augment.scale(draw), draw)


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
    left_over, kept = variation.boxes(boxes)
    assert len(left_over) == kept.sum() >= 1
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - (left, top)
    inside = ((centres >= 0) & (centres <= (width, height))).all(1)
    assert kept.tolist() == inside.tolist()
    assert (left_over >= 0).all()
    assert (left_over <= [width, height, width, height]).all()


def test_an_image_without_boxes_is_cropped_too():
    """There is no centre to keep, and the crops come from everywhere."""
    starts = {vary(augment(crop=1.0), seed=seed).crop[:2] for seed in range(20)}
    assert len(starts) > 10
    boxes, kept = vary(augment(crop=1.0, flip=1.0, scale=(0.5, 0.5))).boxes(np.empty((0, 4), np.float32))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert kept.shape == (0,)


def test_boxes_that_become_too_small_are_dropped():
    """A box with a side of at most a pixel is not a target; the mask for the labels says which remain."""
    boxes, kept = vary(augment(scale=(0.5, 0.5))).boxes(np.array([[4.0, 4, 6, 20], [4, 4, 6.5, 20]], np.float32))
    assert kept.tolist() == [False, True]
    assert boxes.tolist() == [[2, 2, 3.25, 10]]


def test_boxes_over_the_edge_are_clamped():
    """A box never leaves its image."""
    boxes, _ = vary(augment(flip=1.0)).boxes(np.array([[-5.0, 10, 30, 70]], np.float32))
    assert boxes.tolist() == [[50, 10, 80, 60]]


def test_flips_have_the_configured_probability():
    """The share of mirrored images is the probability."""
    flips = [vary(augment(flip=0.3), seed=seed).flip for seed in range(600)]
    assert np.mean(flips) == pytest.approx(0.3, abs=0.06)
