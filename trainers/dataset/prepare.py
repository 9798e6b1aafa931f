"""Prepare the data: check it, list its images, split and decode them, before torch is imported or a GPU is used."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from datapack.progress import size
from trainers.dataset.cache import Cached, CacheWriter
from trainers.dataset.coco import SMALLEST
from trainers.dataset.images import list_images
from trainers.dataset.reading import Decoding, names_of, read_once, workers
from trainers.dataset.split import Split, split
from trainers.dataset.verify import Receipt, check_bytes, check_names, open_dataset, summary
from trainers.errors import MismatchError, TrainingError
from trainers.process import tell_others, wait_for_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.coco import Coco
    from trainers.dataset.images import Images
    from trainers.dataset.pixels import Pixels
    from trainers.dataset.verify import Dataset

Part = Literal["train", "validation", "eval"]

_SLOWER = "each image is decoded again in every epoch, which takes longer"


@dataclass(frozen=True)
class PreparedData:
    """Checked images with their boxes and pixels."""

    dataset: Dataset
    coco: Coco
    pixels: Pixels
    split: Split  # indices in `coco`


def check_data(config: Config, context: RunContext, *, decode: bool = False) -> Dataset:
    """Check the dataset as the configuration says, and its COCO files; with ``decode``, also decode all their images.

    Raises:
        MismatchError: the data is not the dataset that the configuration names.
        TrainingError: an image is broken.
        ConfigError: the configuration names something that does not exist.
    """
    dataset = _open(config, context)
    with _all_differences(config, dataset):
        lists = [_train_images(config, dataset, context)[0]]
        if config.data.eval:
            lists.append(list_images(config, dataset, "eval", context.log))
    decodings = [Decoding(images) for images in lists] if decode else []
    read_once(config, dataset, decodings, context)
    _log_checked(config, dataset, decodings, context)
    return dataset


def prepare_data(config: Config, context: RunContext, part: Part) -> PreparedData:
    """Check the data and, in the same pass, decode the images that are needed.

    The first process of each node does it; the others wait for it.

    Args:
        config: which data, and how to check it.
        context: the folders.
        part: ``train``: all images to train and validate on; ``validation``: only the latter; ``eval``: those to
            predict.

    Raises:
        MismatchError: the data is not the dataset that the configuration names.
        TrainingError: an image is broken.
        ConfigError: the configuration names something that does not exist.
    """
    dataset = _open(config, context)
    with _all_differences(config, dataset):
        images, parts = _choose(config, dataset, part, context)
    if context.place.is_first_here:
        with tell_others(context.scratch, context.place):
            _read_and_keep(config, images, context)
    else:
        wait_for_first(context.scratch)
    return PreparedData(dataset, images.coco, _cached(config, images, context) or images.decoded, parts)


def _open(config: Config, context: RunContext) -> Dataset:
    dataset = open_dataset(context.base / config.dataset, config.digest, context.base)
    if config.verify == "quick":
        check_names(dataset)
    return dataset


@contextlib.contextmanager
def _all_differences(config: Config, dataset: Dataset) -> Iterator[None]:
    """If a list of images differs from the manifest, check everything, for an error that lists all differences."""
    try:
        yield
    except MismatchError:
        if config.verify == "full":
            check_bytes(dataset, workers=workers(config))
        raise


def _choose(config: Config, dataset: Dataset, part: Part, context: RunContext) -> tuple[Images, Split]:
    """List the images of a part. Without a training, all of them are validation images."""
    if part == "eval":
        images = list_images(config, dataset, "eval", context.log)
        return images, _all_validation(images)
    images, parts = _train_images(config, dataset, context)
    if part == "train":
        return images, parts
    images = images.keep(parts.validation, config)
    return images, _all_validation(images)


def _train_images(config: Config, dataset: Dataset, context: RunContext) -> tuple[Images, Split]:
    images = list_images(config, dataset, "train", context.log)
    parts = _split(config, images)
    _log_split(images, parts, context)
    _check_targets(images, parts)
    return images, parts


def _check_targets(images: Images, parts: Split) -> None:
    """Raise `TrainingError` if there is nothing to learn: such a training would end well, with a useless model."""
    counts = images.coco.targets(images.layout.sizes).counts
    if not counts[parts.train].any():
        raise TrainingError(
            "there is nothing to learn: no image to train on has a box that is left after scaling",
            where=images.dataset.folder,
            expected=f"boxes with sides of more than {SMALLEST} pixel in an image of this size, crowds aside",
            found=f"{counts.sum():,} of them, in images for validation",
            fix="set image.min_size and image.max_size higher, or data.validation lower",
        )


def _split(config: Config, images: Images) -> Split:
    by_sequence = config.data.sequences == "url"
    return split(images.coco, config.data.validation, config.seed, by_sequence=by_sequence)


def _all_validation(images: Images) -> Split:
    return Split(np.empty(0, np.int64), np.arange(len(images.coco)), 0)


def _read_and_keep(config: Config, images: Images, context: RunContext) -> None:
    """Check the data; decode the images into ``scratch``, unless they are there or can't be kept."""
    cached = _cached(config, images, context)
    writer = None if cached else _cache_writer(config, images, context)
    decodings = [] if cached else [Decoding(images, writer)]
    if cached:
        context.log.note(f"the decoded images are already in {context.scratch}")
    try:
        read_once(config, images.dataset, decodings, context)
    except BaseException:
        if writer:
            writer.discard()
        raise
    if writer and not writer.finish():
        context.log.note(f"{writer.problem}: {_SLOWER}")
    _log_checked(config, images.dataset, decodings, context)


def _cached(config: Config, images: Images, context: RunContext) -> Cached | None:
    """Return the decoded images in ``scratch``, if they are there and the configuration allows it."""
    if config.image.cache == "off":
        return None
    return Cached.open(context.scratch, images.decoded, context.log.note)


def _cache_writer(config: Config, images: Images, context: RunContext) -> CacheWriter | None:
    """Create the file for the decoded images, unless there is no room or the configuration has none."""
    if config.image.cache == "off":
        return None
    writer = CacheWriter.create(context.scratch, images.layout)
    if isinstance(writer, str):
        context.log.note(f"{writer}: {_SLOWER}")
        return None
    context.log.note(f"writing the decoded images to {context.scratch}: {size(images.layout.bytes)}")
    return writer


def _log_checked(config: Config, dataset: Dataset, decodings: Sequence[Decoding], context: RunContext) -> None:
    """Log what was checked. A full check leaves a receipt in ``scratch``; a quick one says if it finds one there."""
    receipt = Receipt.of(dataset, context.scratch)
    decoded = names_of(decodings)
    context.log.note(summary(dataset, config.verify, len(decoded)))
    if decoded:
        context.log.note(f"{len(decoded):,} images were decoded: none is broken")
    if config.verify == "full":
        receipt.write(dataset)
    elif checked := receipt.checked(dataset):
        context.log.note(f"these files, by size and time, passed a full check here at {checked}")


def _seen_in_training(images: Images, parts: Split) -> int:
    """Return how many images for validation are copies of images to train on."""
    hashes = [images.dataset.manifest.hashes[name] for name in images.names]
    trained = {hashes[index] for index in parts.train.tolist()}
    return sum(hashes[index] in trained for index in parts.validation.tolist())


def _log_split(images: Images, parts: Split, context: RunContext) -> None:
    coco, boxes = images.coco, len(images.coco.targets().boxes)
    context.log.note(
        f"{len(coco):,} images in {parts.sequences:,} sequences, {boxes:,} boxes of "
        f"{len(coco.categories)} categories: {len(parts.train):,} to train on, {len(parts.validation):,} for validation"
    )
    if seen := _seen_in_training(images, parts):
        context.log.note(
            f"{seen:,} images for validation have the same bytes as images to train on: the detector has seen them, "
            "so its figures will be too good"
        )
    if vanished := boxes - len(coco.targets(images.layout.sizes).boxes):
        context.log.note(f"{vanished:,} of these boxes are too small to learn once their images are scaled")
