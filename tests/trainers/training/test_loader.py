"""Batches are complete, of similar shapes and reproducible, and leave no thread behind."""

import contextlib
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from tests.conftest import PROJECT
from tests.trainers.in_memory import Memory, coco
from trainers.config import AugmentationSection
from trainers.errors import TrainingError
from trainers.training.augment import Augment
from trainers.training.loader import ImageLoader, Target

WIDE, TALL = (24, 16), (16, 24)
MIXED = [WIDE if number % 3 else TALL for number in range(23)]
BOXES = [(number, 2, 3, 10, 12) for number in range(23) for _ in range(number % 3)]
VARIED = Augment(AugmentationSection(crop=0.5, hue=0.1))


@dataclass(frozen=True)
class Batch:
    """Images as they were read, and what is to be found in them."""

    images: list[np.ndarray]
    targets: list[Target]
    indices: list[int]


class Loader(ImageLoader[tuple[np.ndarray, Target], Batch]):
    """A loader of a framework that has only arrays."""

    def example(self, pixels, target):
        return pixels.copy(), target

    def batch(self, indices, examples):
        images, targets = zip(*examples, strict=True)
        return Batch(list(images), list(targets), indices)


def loader(sizes=MIXED, boxes=BOXES, indices=None, **options) -> Loader:
    listed = coco(sizes, [box for box in boxes if box[0] < len(sizes)])
    given = {"batch_size": 4, "workers": 2, "seed": 7, "shuffle": True, **options}
    pixels = given.pop("pixels", None) or Memory(listed.sizes)
    return Loader(listed, pixels, range(len(sizes)) if indices is None else indices, **given)


def read(batches):
    """The content of some batches, for comparison."""
    return [
        (
            batch.indices,
            [image.tolist() for image in batch.images],
            [(target.boxes.tolist(), target.augmentation) for target in batch.targets],
        )
        for batch in batches
    ]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def test_the_same_seed_and_epoch_give_the_same_batches():
    """Neither the number of threads nor other users of random numbers change the batches."""
    expected = read(loader(workers=0, augment=VARIED).epoch(3))
    np.random.seed(5)
    assert read(loader(workers=4, augment=VARIED).epoch(3)) == expected
    assert read(loader(workers=4, augment=VARIED, seed=8).epoch(3)) != expected
    assert read(loader(workers=4, augment=VARIED).epoch(4)) != expected


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("workers", [0, 1, 5])
def test_every_image_is_in_one_batch(shuffle, workers):
    """An epoch has each of its images once, and no other."""
    chosen = [3, 22, 4, 11, 0, 9, 17]
    loaded = loader(indices=chosen, shuffle=shuffle, workers=workers)
    batches = list(loaded.epoch(1))
    assert sorted(index for batch in batches for index in batch.indices) == sorted(chosen)
    assert [len(batch.indices) for batch in batches if len(batch.indices) != 4] == [3]
    assert loaded.batches == len(batches) == 2


def test_a_batch_has_images_of_one_shape():
    """Wide and tall images are in separate batches, except one batch of the remainders."""
    mixed = [batch for batch in loader().epoch(1) if len({image.shape for image in batch.images}) > 1]
    assert len(mixed) <= 1


def test_each_image_is_augmented_individually():
    """In one batch some images are mirrored and some are not."""
    flip = Augment(AugmentationSection(flip=0.5, scale=(1, 1)))
    (batch,) = loader([WIDE] * 32, [(n, 0, 0, 8, 8) for n in range(32)], batch_size=32, augment=flip).epoch(1)
    assert {target.boxes[0, 0].item() for target in batch.targets} == {0, WIDE[0] - 8}


def test_batches_of_different_shapes_are_mixed():
    """Training does not see all tall images first and then all wide ones."""
    shapes = [batch.images[0].shape for batch in loader([WIDE, TALL] * 32, [], workers=0).epoch(1)]
    assert sum(one != other for one, other in pairwise(shapes)) > 2


@pytest.mark.parametrize("start", [0, 2, 5, 6])
def test_an_epoch_resumes_from_any_batch(start):
    """The batches after a resumption are those that would have come without it."""
    assert read(loader(augment=VARIED).epoch(2, start)) == read(loader(augment=VARIED).epoch(2))[start:]


def test_a_resumption_skips_earlier_images():
    """Images of earlier batches are not read again."""
    pixels = Memory(coco(MIXED).sizes)
    (batch,) = loader(pixels=pixels).epoch(1, start=5)
    assert sorted(pixels.reads) == sorted(batch.indices)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 23])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_train_on_equal_shares(world, count):
    """At each step all processes have equally many images, mostly of one shape; at most world - 1 come twice."""
    shares = [loader(MIXED[:count], BOXES, rank=rank, world=world) for rank in range(world)]
    epochs = [list(share.epoch(1)) for share in shares]
    assert {share.batches for share in shares} == {len(epoch) for epoch in epochs} == {len(epochs[0])}
    for step in zip(*epochs, strict=True):
        assert len({len(batch.indices) for batch in step}) == 1
    often = Counter(index for epoch in epochs for batch in epoch for index in batch.indices)
    assert set(often) == set(range(count))
    assert often.total() - count == -count % world


@pytest.mark.parametrize("count", [1, 9, 23])
def test_processes_evaluate_each_image_once(count):
    """No image is evaluated twice, even if a process has less to do."""
    shares = [loader(MIXED[:count], BOXES, rank=rank, world=3, shuffle=False) for rank in range(3)]
    seen = [index for share in shares for batch in share.epoch(1) for index in batch.indices]
    assert sorted(seen) == list(range(count))
    assert [share.batches for share in shares] == [len(list(share.epoch(1))) for share in shares]


def test_all_processes_use_one_scale_at_a_step():
    """No process waits for another with larger images."""
    augment = Augment(AugmentationSection(scale=(0.5, 2)))
    epochs = [loader([WIDE] * 16, [], augment=augment, rank=rank, world=2).epoch(1) for rank in range(2)]
    shapes = [
        {target.augmentation.size for batch in step for target in batch.targets} for step in zip(*epochs, strict=True)
    ]
    assert [len(shape) for shape in shapes] == [1, 1]
    assert shapes[0] != shapes[1]


def test_only_a_few_batches_are_read_ahead():
    """A slow consumer has only a few batches waiting in memory."""
    pixels = Memory(coco([WIDE] * 200).sizes)
    batches = loader([WIDE] * 200, [], pixels=pixels, workers=4).epoch(1)
    for number in range(1, 6):
        next(batches)
        time.sleep(0.05)
        assert len(pixels.reads) <= (number + 2) * 4
    batches.close()


def test_threads_read_in_parallel():
    """With a slow disk, four threads are four times as fast as one."""
    pixels = Memory(coco([WIDE] * 16).sizes, slow=0.01)
    entered = []
    inner = pixels.read

    def read_and_note(index):
        entered.append((time.perf_counter(), 1))
        try:
            return inner(index)
        finally:
            entered.append((time.perf_counter(), -1))

    pixels.read = read_and_note
    list(loader([WIDE] * 16, [], pixels=pixels, workers=4).epoch(1))
    at_once = np.cumsum([change for _, change in sorted(entered)])
    assert at_once.max() == 4


@pytest.mark.parametrize("workers", [0, 3])
def test_an_image_that_cannot_be_read_is_named(workers):
    """The loop raises an error that names the image, and no thread is left."""
    broken = loader(pixels=Memory(coco(MIXED).sizes, broken=(13,)), workers=workers)
    with pytest.raises(TrainingError, match=r"13\.png.*the disk is gone"):
        list(broken.epoch(1))
    assert not threads()


def test_an_abandoned_loop_leaves_no_thread():
    """An exception or a break in the loop ends the threads and drops the work that they have not started."""
    pixels = Memory(coco([WIDE] * 200).sizes, slow=0.001)

    def train():
        for _ in loader([WIDE] * 200, [], pixels=pixels, workers=3).epoch(1):
            assert threads()
            raise ArithmeticError

    with contextlib.suppress(ArithmeticError):  # its traceback, which holds the loop, goes with it
        train()
    assert not threads()
    assert len(pixels.reads) < 30
    for _ in loader([WIDE] * 200, [], pixels=pixels, workers=3).epoch(1):
        break
    assert not threads()


def test_epochs_group_images_differently():
    """Over some epochs an image meets many others, and small batches differ too."""
    loaded = loader([WIDE] * 23, [], workers=0)
    epochs = [[tuple(sorted(batch.indices)) for batch in loaded.epoch(number)] for number in range(4)]
    assert all(not set(one) & set(other) for one, other in pairwise(epochs))


def test_a_part_without_images_has_no_batch():
    """An empty part is an empty epoch."""
    empty = loader(indices=[])
    assert empty.batches == 0
    assert not list(empty.epoch(1))


@pytest.mark.parametrize(("caller", "nth"), [("acquire", 3), ("result", 1), ("wait", 1)])
def test_a_signal_does_not_leave_a_lock_of_the_threads_taken(caller, nth):
    """A job ends at a signal, even if the main thread has just taken a lock that the threads need."""
    code = f"""
from tests.locks import signal_after_lock
from tests.trainers.training.test_loader import loader
from trainers.process import watch_signals
watch_signals()
images = loader()
images._pixels.slow = 0.05
with signal_after_lock({caller!r}, {nth}):
    for _ in images.epoch(0):
        pass
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr[-200:].count("StoppedError: stopped by SIGTERM")) == (1, 1), done
