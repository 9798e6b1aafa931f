"""Prepare the data: check it, list its images, split and decode them, before torch is imported or a GPU is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from datapack.executor import run_all
from datapack.progress import size
from trainers.dataset.decode import BrokenImageError, decode
from trainers.dataset.images import list_images
from trainers.dataset.pixels import CacheWriter
from trainers.dataset.split import Split, split
from trainers.dataset.verify import Receipt, check_bytes, check_names, open_dataset, read_file, summary
from trainers.errors import ConfigError, MismatchError, TrainingError
from trainers.process import cores, tell_others, wait_for_first

if TYPE_CHECKING:
    from datapack.executor import Advance
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


def check_data(config: Config, context: RunContext) -> Dataset:
    """Check the dataset as the configuration says, and its COCO files; decode nothing."""
    dataset = open_dataset(context.base / config.dataset, config.digest, context.base)
    if config.verify == "full":
        with context.log.progress("checking", dataset.listing.size, "B") as advance:
            check_bytes(dataset, workers=workers(config), advance=advance)
    else:
        check_names(dataset)
    _log_checked(config, dataset, context)
    images = list_images(config, dataset, config.data.train, config.data.images, context.log)
    _log_split(images, _split(config, images), context)
    if config.data.eval:
        list_images(config, dataset, config.data.eval, config.data.eval_images, context.log, boxes=False)
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
    dataset = open_dataset(context.base / config.dataset, config.digest, context.base)
    if config.verify == "quick":
        check_names(dataset)
    try:
        images, parts = _choose(config, dataset, part, context)
    except MismatchError:
        if config.verify == "full":
            check_bytes(dataset, workers=workers(config))  # raises an error that lists all differences
        raise
    if context.place.is_first_here:
        with tell_others(context.scratch, context.place):
            _read_once(config, images, context)
            _log_checked(config, dataset, context)
    else:
        wait_for_first(context.scratch)
    return PreparedData(dataset, images.coco, images.pixels(context.scratch), parts)


def workers(config: Config, processes: int = 1) -> int:
    """Return the number of reading threads of each process, if ``processes`` of this node read at the same time."""
    return config.workers or max(1, cores() // processes)


def _choose(config: Config, dataset: Dataset, part: Part, context: RunContext) -> tuple[Images, Split]:
    """List the images of a part. Without a training, all of them are validation images."""
    if part == "eval":
        if config.data.eval is None:
            raise ConfigError("data.eval names no list of images to predict", where=context.base)
        images = list_images(config, dataset, config.data.eval, config.data.eval_images, context.log, boxes=False)
        return images, _all_validation(images)
    images = list_images(config, dataset, config.data.train, config.data.images, context.log)
    parts = _split(config, images)
    _log_split(images, parts, context)
    if part == "train":
        return images, parts
    images = images.keep(parts.validation, config)
    return images, _all_validation(images)


def _split(config: Config, images: Images) -> Split:
    by_sequence = config.data.sequences == "url"
    return split(images.coco, config.data.validation, config.seed, by_sequence=by_sequence)


def _all_validation(images: Images) -> Split:
    return Split(np.empty(0, np.int64), np.arange(len(images.coco)), 0)


def _read_once(config: Config, images: Images, context: RunContext) -> None:
    """Read every file once: compare it with its hash and, if it is one of the images, decode it into ``scratch``.

    With ``verify: quick`` only the images to decode are read.
    """
    writer = _cache_writer(config, images, context)
    decoding = _Decoding(images, writer)
    wanted = {} if images.is_cached(context.scratch) else decoding.indices
    try:
        if config.verify == "full":
            label = "checking and decoding" if wanted else "checking"
            with context.log.progress(label, images.dataset.listing.size, "B") as advance:
                check_bytes(
                    images.dataset, workers=workers(config), images=wanted, visit=decoding.decode, advance=advance
                )
        elif wanted:
            with context.log.progress("decoding", len(wanted), "images") as advance:
                list(run_all(decoding.read, wanted, workers=workers(config), advance=advance))
        decoding.raise_if_broken()
    except BaseException:
        if writer:
            writer.discard()
        raise
    if writer and not writer.finish():
        context.log.note(f"{context.scratch} is full: {_SLOWER}")


def _cache_writer(config: Config, images: Images, context: RunContext) -> CacheWriter | None:
    """Create the file for the decoded images, unless it exists, there is no room, or the configuration has none."""
    if images.is_cached(context.scratch):
        context.log.note(f"the decoded images are already in {context.scratch}")
        return None
    if config.image.cache == "off":
        return None
    writer = CacheWriter.create(context.scratch, images.layout)
    if isinstance(writer, str):
        context.log.note(f"{writer}: {_SLOWER}")
        return None
    context.log.note(f"writing the decoded images to {context.scratch}: {size(images.layout.bytes)}")
    return writer


class _Decoding:
    """Decodes images in threads and collects the broken ones."""

    def __init__(self, images: Images, writer: CacheWriter | None) -> None:
        self.images, self.writer = images, writer
        self.indices = {name: index for index, name in enumerate(images.names)}
        self.broken: dict[str, str] = {}

    def decode(self, name: str, content: bytes) -> None:
        """Decode an image and write it to the cache; without a cache, only check that it can be decoded."""
        index, layout = self.indices[name], self.images.layout
        sizes = layout.sizes if self.writer else layout.given
        try:
            pixels = decode(content, layout.given[index], sizes[index])
        except BrokenImageError as error:
            self.broken[name] = str(error)
            return
        if self.writer:
            self.writer.write(index, pixels)

    def read(self, name: str, advance: Advance) -> None:
        """Read and decode an image."""
        self.decode(name, read_file(self.images.dataset.path(name)))
        advance(1)

    def raise_if_broken(self) -> None:
        """Raise `TrainingError` that names every broken image."""
        if self.broken:
            raise TrainingError(
                f"{len(self.broken):,} of {len(self.indices):,} images can't be used",
                where=self.images.dataset.folder,
                fix="repair the dataset, or list them under data.skip_broken to leave them out",
                details=tuple(f"{name}: {why}" for name, why in sorted(self.broken.items())),
            )


def _log_checked(config: Config, dataset: Dataset, context: RunContext) -> None:
    """Log what was checked. A full check leaves a receipt in ``scratch``; a quick one says if it finds one there."""
    receipt = Receipt.of(dataset, context.scratch)
    context.log.note(summary(dataset, config.verify))
    if config.verify == "full":
        receipt.write(dataset)
    elif checked := receipt.checked(dataset):
        context.log.note(f"these files, by size and time, passed a full check here at {checked}")


def _log_split(images: Images, parts: Split, context: RunContext) -> None:
    coco = images.coco
    context.log.note(
        f"{len(coco):,} images in {parts.sequences:,} sequences, {len(coco.targets().boxes):,} boxes of "
        f"{len(coco.categories)} categories: {len(parts.train):,} to train on, {len(parts.validation):,} for validation"
    )
