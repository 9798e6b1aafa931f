"""Batches of tensors: the images and boxes of a loader, on a device."""

import os
import subprocess
import sys

import numpy as np
import torch

from tests.trainers.in_memory import Memory, coco
from trainers.config import AugmentationSection
from trainers.pytorch.loader import Loader
from trainers.training.augment import Augment

WIDE, TALL = (24, 16), (16, 24)
MIXED = [WIDE if number % 3 else TALL for number in range(23)]
BOXES = [(number, 2, 3, 10, 12) for number in range(23) for _ in range(number % 3)]
VARIED = Augment(AugmentationSection(crop=0.5, hue=0.1))


def loader(sizes=MIXED, boxes=BOXES, indices=None, **options) -> Loader:
    listed = coco(sizes, [box for box in boxes if box[0] < len(sizes)])
    given = {"batch_size": 4, "workers": 2, "device": "cpu", "seed": 7, "shuffle": True, **options}
    pixels = given.pop("pixels", None) or Memory(listed.sizes)
    return Loader(listed, pixels, range(len(sizes)) if indices is None else indices, **given)


def read(batches):
    """The content of some batches, for comparison."""
    return [
        (
            batch.indices,
            [image.tolist() for image in batch.images],
            [target["boxes"].tolist() for target in batch.targets],
        )
        for batch in batches
    ]


def test_images_match_their_indices():
    """Each tensor is the image of its index: uint8, channels first, in channels_last memory."""
    for batch in loader(batch_size=3).epoch(1):
        for index, image in zip(batch.indices, batch.images, strict=True):
            assert image[0, 0, 0] == index
            assert tuple(image.shape[:0:-1]) == MIXED[index]
            assert image.dtype == torch.uint8
            assert image.permute(1, 2, 0).is_contiguous()
            assert np.array_equal(image.permute(1, 2, 0), Memory(coco(MIXED).sizes).read(index))


def test_boxes_are_in_the_pixels_of_the_image():
    """Boxes are scaled with their image; crowds, and boxes with a side of at most a pixel, are not targets."""
    boxes = [(0, 10, 20, 30, 60), (0, 0, 0, 40, 80), (0, 4, 4, 5.9, 30), (1, 1, 1, 9, 9)]
    listed = coco([(40, 80), (40, 80), (40, 80)], boxes, crowd=[3])
    pixels = Memory(np.array([(20, 40)] * 3, np.int32))
    (batch,) = Loader(listed, pixels, [0, 1, 2], batch_size=3, workers=0, device="cpu", shuffle=False).epoch(1)
    first, crowd, empty = batch.targets
    assert first["boxes"].tolist() == [[5, 10, 15, 30], [0, 0, 20, 40]]
    assert first["labels"].tolist() == [1, 2]
    for target in (crowd, empty):
        assert target["boxes"].shape == (0, 4)
        assert target["labels"].shape == (0,)
    assert {target["boxes"].dtype for target in batch.targets} == {torch.float32}
    assert {target["labels"].dtype for target in batch.targets} == {torch.int64}


def test_labels_go_with_their_boxes():
    """A box that the augmentation drops loses its label too."""
    boxes = [(0, 2, 2, 3.5, 12), (0, 4, 4, 12, 12)]
    half = Augment(AugmentationSection(scale=(0.5, 0.5)))
    (batch,) = loader([WIDE], boxes, augment=half).epoch(1)
    assert batch.targets[0]["labels"].tolist() == [2]
    assert len(batch.targets[0]["boxes"]) == 1


def test_the_same_seed_and_epoch_give_the_same_batches():
    """Neither the number of threads nor other users of random numbers change the batches."""
    expected = read(loader(workers=0, augment=VARIED).epoch(3))
    torch.manual_seed(5)
    np.random.seed(5)
    assert read(loader(workers=4, augment=VARIED).epoch(3)) == expected
    assert read(loader(workers=4, augment=VARIED, seed=8).epoch(3)) != expected
    assert read(loader(workers=4, augment=VARIED).epoch(4)) != expected


def test_images_for_another_device_are_augmented_there():
    """On a device other than the CPU, the images have the same shapes, and the boxes fit them.

    The device is torch's "meta", which has shapes and no values: what a GPU makes of it needs one.
    """
    here, there = (list(loader(augment=VARIED, device=device).epoch(1)) for device in ("cpu", "meta"))
    for one, other in zip(here, there, strict=True):
        assert {image.device.type for image in other.images} == {"meta"}
        assert [image.shape for image in one.images] == [image.shape for image in other.images]
        assert [image.stride() for image in one.images] == [image.stride() for image in other.images]
        for target, moved in zip(one.targets, other.targets, strict=True):
            assert {name: (value.shape, value.dtype) for name, value in target.items()} == {
                name: (value.shape, value.dtype) for name, value in moved.items()
            }


def test_the_number_of_torch_threads_does_not_change():
    """A reading thread limits itself to one core, not the model, even if nothing asked for the number before."""
    path = os.pathsep.join(sys.path)

    def threads_after(line):
        code = f"import torch; from tests.trainers.pytorch import test_loader; {line}; print(torch.get_num_threads())"
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True
        )
        return int(done.stdout)

    assert threads_after("list(test_loader.loader().epoch(1))") == threads_after("pass")
