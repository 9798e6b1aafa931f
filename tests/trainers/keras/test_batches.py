"""Batches: images and boxes stay together, are padded as the model expects, and are divided among its copies."""

import numpy as np
import pytest

from tests.trainers.squares import squares
from trainers.config import AugmentationSection
from trainers.keras.batches import Loader, augmented
from trainers.keras.model import MEAN, STD, normalized
from trainers.training.augment import Augment, Augmentation

SIZE = (60, 80)


def loader(count=7, **options):
    coco, pixels = squares(count)
    given = {"replicas": 1, "batch_size": 3, "workers": 2, "shuffle": False, **options}
    return Loader(coco, pixels, np.arange(count), **given)


def test_a_batch_has_its_images_and_their_boxes():
    """Each image is in the upper left corner of its place, with zeros around it, and has its own boxes."""
    coco, pixels = squares(7)
    seen = []
    for batch in loader().epoch(0):
        (part,) = batch.parts
        assert part.indices == batch.indices
        seen += batch.indices
        for place, index in enumerate(batch.indices):
            np.testing.assert_array_equal(part.images[place], pixels.read(index))
            x, y, width, height = coco.bbox[index]
            np.testing.assert_array_equal(part.boxes[place, : part.counts[place]], [[x, y, x + width, y + height]])
            assert part.labels[place, 0] == coco.labels[index]
    assert sorted(seen) == list(range(7))


@pytest.mark.parametrize(("count", "replicas"), [(7, 2), (4, 3), (1, 4)])
def test_every_copy_of_the_model_gets_images(count, replicas):
    """All images of a batch are in some part, and a part without an image, which would train NaN, never exists."""
    for batch in loader(count, replicas=replicas, batch_size=1).epoch(0):
        assert len(batch.parts) == replicas
        assert all(len(part.indices) >= 1 for part in batch.parts)
        assert {index for part in batch.parts for index in part.indices} == set(batch.indices)


def test_images_of_several_sizes_are_padded_to_a_multiple_of_32():
    """Sides are those of the largest image, rounded up; the model sees zeros around each image."""
    augment = Augment(AugmentationSection(scale=(0.6, 0.6), flip=0.5, crop=1.0))
    for batch in loader(shuffle=True, augment=augment).epoch(0):
        (part,) = batch.parts
        assert part.images.shape[1] % 32 == part.images.shape[2] % 32 == 0
        assert (part.sizes.max(axis=0) <= part.images.shape[1:3]).all()
        seen = normalized(part.images, part.sizes).numpy()
        for image, pixels, (height, width) in zip(seen, part.images, part.sizes, strict=True):
            inside = (pixels[:height, :width] / 255 - np.array(MEAN)) / np.array(STD)
            np.testing.assert_allclose(image[:height, :width], inside, atol=1e-5)
            assert not image[height:].any()
            assert not image[:, width:].any()


def augmentation(**changes):
    whole = {"source": SIZE, "crop": (0, 0, *SIZE), "size": SIZE, "flip": False}
    return Augmentation(**{**whole, **changes})


CHANGES = [
    {"flip": True},
    {"crop": (5, 9, 40, 50), "size": (40, 50)},
    {"size": (45, 60)},
    {"crop": (5, 9, 40, 50), "size": (50, 62), "flip": True},
    {"brightness": 1.3},
    {"contrast": 0.7},
    {"saturation": 1.4},
    {"hue": 0.2},
    {"brightness": 0.8, "contrast": 1.2, "saturation": 0.9, "hue": -0.1, "flip": True},
]


@pytest.mark.torch
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_augmentation_is_the_same_as_in_pytorch(change):
    """Both frameworks apply what was drawn to the same pixels; Pillow rounds more often."""
    torch = pytest.importorskip("torch")
    from trainers.pytorch.augment import augmented as with_torch

    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    image = np.repeat(np.repeat(image, 5, axis=0), 5, axis=1)  # areas, as in a photograph
    ours = augmented(image, augmentation(**change))
    theirs = with_torch(torch.tensor(image).permute(2, 0, 1), augmentation(**change)).permute(1, 2, 0).numpy()
    assert ours.shape == theirs.shape
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= 3
    assert change == {"flip": False} or not np.array_equal(ours, image)
