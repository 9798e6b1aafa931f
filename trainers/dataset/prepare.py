"""The data on its way in: checked, listed, split, decoded. All of it before torch is imported or a GPU is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from datapack.progress import size
from trainers.dataset.decode import BrokenImageError, decode
from trainers.dataset.images import list_images
from trainers.dataset.pixels import CacheWriter
from trainers.dataset.split import Split, split
from trainers.dataset.verify import Receipt, check_bytes, check_names, in_threads, open_dataset, read_file, summary
from trainers.errors import ConfigError, MismatchError, TrainingError
from trainers.process import announced, cores, wait_for_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.coco import Coco
    from trainers.dataset.images import Images
    from trainers.dataset.pixels import Pixels
    from trainers.dataset.verify import Dataset

Part = Literal["train", "validation", "eval"]

_SLOWLY = "each image is decoded anew in every epoch, which takes longer"


@dataclass(frozen=True)
class PreparedData:
    """Images that are what was asked for, with their boxes and pixels."""

    dataset: Dataset
    coco: Coco
    pixels: Pixels
    split: Split  # places in `coco`


def check_data(config: Config, context: RunContext) -> Dataset:
    """Check the dataset as the configuration says, and that its lists can be used; decode nothing."""
    dataset = open_dataset(context.base / config.dataset, config.digest, context.base)
    if config.verify == "full":
        with context.log.progress("checking", dataset.total, "B") as advance:
            check_bytes(dataset, workers=workers(config), advance=advance)
    else:
        check_names(dataset)
    _say_checked(config, dataset, context)
    images = list_images(config, dataset, config.data.train, config.data.images, context.log)
    _say_split(images, _split(config, images), context)
    if config.data.eval:
        list_images(config, dataset, config.data.eval, config.data.eval_images, context.log)
    return dataset


def prepare_data(config: Config, context: RunContext, part: Part) -> PreparedData:
    """Check the data, and decode in the same pass what is needed of it.

    Of several processes on a node the first does it, and the others wait for it.

    Args:
        config: which data, and how it is checked.
        context: the folders.
        part: ``train``: all images to train and validate on; ``validation``: only the latter; ``eval``: those to
            predict.

    Raises:
        MismatchError: the data is not what was asked for.
        TrainingError: an image is broken.
        ConfigError: the configuration names what is not there.
    """
    dataset = open_dataset(context.base / config.dataset, config.digest, context.base)
    if config.verify == "quick":
        check_names(dataset)
    try:
        images, parts = _choose(config, dataset, part, context)
    except MismatchError:
        if config.verify == "full":
            check_bytes(dataset, workers=workers(config))  # raises, and says all that differs
        raise
    if context.place.is_first_here:
        with announced(context.scratch, context.place):
            _read_once(config, images, context)
            _say_checked(config, dataset, context)
    else:
        wait_for_first(context.scratch)
    return PreparedData(dataset, images.coco, images.pixels(context.scratch), parts)


def workers(config: Config, processes: int = 1) -> int:
    """Return how many threads read in each of so many processes of this node that do so at once."""
    return config.workers or max(1, cores() // processes)


def _choose(config: Config, dataset: Dataset, part: Part, context: RunContext) -> tuple[Images, Split]:
    """List the images of a part. Those that are only looked at are all for validation."""
    if part == "eval":
        if config.data.eval is None:
            raise ConfigError("data.eval names no list of images to predict", where=context.base)
        images = list_images(config, dataset, config.data.eval, config.data.eval_images, context.log)
        return images, _all_validation(images)
    images = list_images(config, dataset, config.data.train, config.data.images, context.log)
    parts = _split(config, images)
    _say_split(images, parts, context)
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
    """Read every file once: hold it against its hash, and decode it into ``scratch`` if it is one of the images.

    With ``verify: quick`` only what is to be decoded is read.
    """
    dataset = images.dataset
    writer = _writer(config, images, context)
    decoding = _Decoding(images, writer)
    wanted = {} if images.is_cached(context.scratch) else decoding.places
    what = " and ".join(["checking"] * (config.verify == "full") + ["decoding"] * bool(wanted))
    try:
        if config.verify == "full":
            with context.log.progress(what, dataset.total, "B") as advance:
                check_bytes(dataset, workers=workers(config), images=wanted, visit=decoding.visit, advance=advance)
        elif wanted:
            with context.log.progress(what, len(wanted), "images") as advance:
                in_threads(lambda names: decoding.read(names, advance), list(wanted), workers(config))
        decoding.raise_if_broken()
    except BaseException:
        if writer:
            writer.discard()
        raise
    if writer and not writer.finish():
        context.log.note(f"{context.scratch} is full: {_SLOWLY}")


def _writer(config: Config, images: Images, context: RunContext) -> CacheWriter | None:
    """Make the file that decoded images are kept in, unless it is there, there is no room, or nobody wants it."""
    if images.is_cached(context.scratch):
        context.log.note(f"the decoded images are in {context.scratch} already")
        return None
    if config.image.cache == "off":
        return None
    writer = CacheWriter.create(context.scratch, images.layout)
    if isinstance(writer, str):
        context.log.note(f"{writer}: {_SLOWLY}")
        return None
    context.log.note(f"decoded images go to {context.scratch}: {size(images.layout.bytes)}")
    return writer


class _Decoding:
    """Decodes images in threads, and gathers those that are broken."""

    def __init__(self, images: Images, writer: CacheWriter | None) -> None:
        self.images, self.writer = images, writer
        self.places = {name: place for place, name in enumerate(images.names)}
        self.broken: dict[str, str] = {}

    def visit(self, name: str, content: bytes) -> None:
        """Decode an image and write it where it belongs; without a writer, only see whether it decodes."""
        place, layout = self.places[name], self.images.layout
        sizes = layout.sizes if self.writer else layout.given
        try:
            pixels = decode(content, layout.given[place], sizes[place])
        except BrokenImageError as error:
            self.broken[name] = str(error)
            return
        if self.writer:
            self.writer.write(place, pixels)

    def read(self, names: list[str], advance: Callable[[int], None]) -> list[str]:
        """Read and decode some images."""
        for name in names:
            self.visit(name, read_file(self.images.dataset.path(name)))
            advance(1)
        return names

    def raise_if_broken(self) -> None:
        """Raise `TrainingError` that names every broken image."""
        if self.broken:
            raise TrainingError(
                f"{len(self.broken):,} of {len(self.places):,} images can't be used",
                where=self.images.dataset.folder,
                fix="mend the dataset, or name them under data.skip_broken to leave them out",
                details=tuple(f"{name}: {why}" for name, why in sorted(self.broken.items())),
            )


def _say_checked(config: Config, dataset: Dataset, context: RunContext) -> None:
    """Say what was checked; a full check leaves its receipt in ``scratch``, a quick one says if there is one."""
    receipt = Receipt.of(dataset, context.scratch)
    context.log.note(summary(dataset, config.verify))
    if config.verify == "full":
        receipt.write(dataset)
    elif checked := receipt.checked(dataset):
        context.log.note(f"a full check of these files, by size and time, was finished here at {checked}")


def _say_split(images: Images, parts: Split, context: RunContext) -> None:
    coco = images.coco
    context.log.note(
        f"{len(coco):,} images in {parts.sequences:,} sequences, {len(coco.boxes):,} boxes of "
        f"{len(coco.categories)} categories: {len(parts.train):,} to train on, {len(parts.validation):,} for validation"
    )
