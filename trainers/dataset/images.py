"""The images that a COCO file of the dataset lists, and where their pixels come from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.dataset.coco import parse_coco
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

MISSING = "missing.csv"  # in a dataset: the images that its catalog allows to be missing, and are


@dataclass(frozen=True)
class Images:
    """N images of the dataset, each with its file, and how they are laid out when decoded."""

    coco: Coco
    names: tuple[str, ...]  # N, in the manifest
    layout: Layout
    dataset: Dataset

    def keep(self, places: NDArray[np.int64], config: Config) -> Images:
        """Return these of the images, by their places."""
        coco = self.coco.keep(places)
        layout = Layout.of(coco, self.dataset.manifest.digest, config.image)
        return Images(coco, tuple(self.names[place] for place in places), layout, self.dataset)

    def is_cached(self, scratch: Path) -> bool:
        """Say whether all of them lie decoded in ``scratch``."""
        return Cached.open(cache_path(scratch, self.layout), self.layout) is not None

    def pixels(self, scratch: Path) -> Pixels:
        """Return what lies decoded in ``scratch``, or what decodes each image when it is read."""
        cached = Cached.open(cache_path(scratch, self.layout), self.layout)
        return cached or Decoded(tuple(self.dataset.path(name) for name in self.names), self.layout)


def list_images(config: Config, dataset: Dataset, file: str, folder: str, log: Log) -> Images:
    """Read a COCO file of the dataset, and find its images there.

    Those that the dataset's ``missing.csv`` or the configuration's ``skip_broken`` names are left out.

    Raises:
        TrainingError: an image is not in the dataset.
        ConfigError: the file is not in the dataset, or ``skip_broken`` names something else.
        MismatchError: the file is not what the manifest says.
    """
    name = _in_manifest(dataset, file)
    coco, cleaned = parse_coco(dataset.read(name), where=dataset.path(name))
    names = [f"data/{folder}/{file_name}" for file_name in coco.file_names]
    skipped = _skipped(config, coco, file)
    allowed = _missing(dataset)
    absent = [name for name in names if name not in dataset.manifest.hashes and name not in allowed]
    if absent:
        raise TrainingError(
            f"{len(absent):,} of {len(names):,} images of {file} are not in the dataset",
            where=dataset.folder,
            found=f"no {absent[0]}",
            fix="set data.images (or data.eval_images) to the folder that holds them",
        )
    kept = [
        place
        for place, name in enumerate(names)
        if name in dataset.manifest.hashes and coco.file_names[place] not in skipped
    ]
    left_out = len(names) - len(kept)
    log.note(f"{file}: {cleaned}" + (f"; {left_out:,} images left out, as the configuration says" if skipped else ""))
    if not kept:
        raise TrainingError("no image is left", where=dataset.path(name))
    whole = Images(coco, tuple(names), Layout.of(coco, "", config.image), dataset)
    return whole.keep(np.array(kept, np.int64), config)


def _in_manifest(dataset: Dataset, file: str) -> str:
    name = f"data/{file}"
    if name not in dataset.manifest.hashes:
        lists = [other.removeprefix("data/") for other in dataset.manifest.hashes if other.endswith(".json")]
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
        raise ConfigError("data.skip_broken names no image of this list", where=file, found=unknown[0])
    return skipped


def _missing(dataset: Dataset) -> set[str]:
    """Return the files that the dataset says are missing."""
    if f"data/{MISSING}" not in dataset.manifest.hashes:
        return set()
    rows = csv.DictReader(dataset.read(f"data/{MISSING}").decode("utf-8", "replace").splitlines())
    return {f"data/{row['path']}" for row in rows if row.get("path")}
