"""The images that a COCO file of the dataset lists, and where their pixels come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datapack.bag.manifest import PAYLOAD
from datapack.bag.missing import MISSING, parse_missing
from trainers.dataset.coco_file import Cleaned, parse_coco
from trainers.dataset.names import find_images
from trainers.dataset.pixels import Cached, Decoded, Layout, cache_path
from trainers.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.config import Config
    from trainers.dataset.coco import Coco
    from trainers.dataset.pixels import Pixels
    from trainers.dataset.verify import Dataset
    from trainers.log import Log


@dataclass(frozen=True)
class Images:
    """N images of the dataset, with their files and the layout of their decoded pixels."""

    coco: Coco
    names: tuple[str, ...]  # N, in the manifest
    layout: Layout
    dataset: Dataset

    def keep(self, indices: NDArray[np.int64], config: Config) -> Images:
        """Return the images with these indices."""
        coco = self.coco.keep(indices)
        layout = Layout.of(coco, self.dataset.manifest.digest, config.image)
        return Images(coco, tuple(self.names[index] for index in indices), layout, self.dataset)

    def is_cached(self, scratch: Path) -> bool:
        """Whether the decoded images are in ``scratch``."""
        return Cached.open(cache_path(scratch, self.layout), self.layout) is not None

    def pixels(self, scratch: Path) -> Pixels:
        """Return the decoded images in ``scratch`` or, without them, a reader that decodes each image on the fly."""
        cached = Cached.open(cache_path(scratch, self.layout), self.layout)
        return cached or Decoded(tuple(self.dataset.path(name) for name in self.names), self.layout)


def list_images(config: Config, dataset: Dataset, file: str, folder: str, log: Log, *, boxes: bool = True) -> Images:
    """Read a COCO file of the dataset and find its images there; without ``boxes`` its boxes may be anything.

    Images in the dataset's ``missing.csv`` or in the configuration's ``skip_broken`` are left out.

    Raises:
        TrainingError: an image is not in the dataset.
        ConfigError: the file is not in the dataset, or ``skip_broken`` names an unknown image.
        MismatchError: the file differs from the manifest.
    """
    name = _in_manifest(dataset, file)
    coco = parse_coco(dataset.read(name), where=dataset.path(name), boxes=boxes)
    skipped = _skipped(config, coco, file)
    names = find_images(coco.file_names, folder, {*dataset.manifest.hashes, *_missing(dataset)}, dataset.path(name))
    kept = [
        index
        for index, name in enumerate(names)
        if name in dataset.manifest.hashes and coco.file_names[index] not in skipped
    ]
    left_out = len(names) - len(kept)
    said = str(Cleaned.of(coco)) if boxes else "its boxes are not read"
    log.note(f"{file}: {said}" + (f"; {left_out:,} images left out" if left_out else ""))
    if not kept:
        raise TrainingError("no images are left", where=dataset.path(name))
    images = Images(coco, names, Layout.of(coco, "", config.image), dataset)
    return images.keep(np.array(kept, np.int64), config)


def _in_manifest(dataset: Dataset, file: str) -> str:
    name = f"{PAYLOAD}/{file}"
    if name not in dataset.manifest.hashes:
        lists = [other.removeprefix(f"{PAYLOAD}/") for other in dataset.manifest.hashes if other.endswith(".json")]
        raise ConfigError(
            f"the dataset has no {file}",
            where=dataset.folder,
            expected=f"one of {', '.join(lists)}" if lists else "a COCO file",
            fix="set data.train (or data.eval) to it, or data.eval to null",
        )
    return name


def _skipped(config: Config, coco: Coco, file: str) -> set[str]:
    if file != config.data.train:
        return set()
    skipped = set(config.data.skip_broken)
    if unknown := sorted(skipped - set(coco.file_names)):
        raise ConfigError("data.skip_broken names an unknown image", where=file, found=unknown[0])
    return skipped


def _missing(dataset: Dataset) -> set[str]:
    """Return the files that the dataset lists as missing."""
    name = f"{PAYLOAD}/{MISSING}"
    if name not in dataset.manifest.hashes:
        return set()
    try:
        return {f"{PAYLOAD}/{path}" for path in parse_missing(dataset.read(name))}
    except ValueError as error:
        raise TrainingError("can't read this list of missing files", where=dataset.path(name), found=error) from error
