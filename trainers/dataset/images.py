"""The images that a COCO file of the dataset lists, and where their pixels come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from datapack.bag.manifest import PAYLOAD
from datapack.bag.missing import MISSING, parse_missing
from datapack.executor import run_all
from trainers.dataset.coco_file import Cleaned, parse_coco
from trainers.dataset.decode import on_turned_image
from trainers.dataset.names import find_images, places
from trainers.dataset.orientation import TurnRule
from trainers.dataset.pixels import Decoded, Layout
from trainers.errors import ConfigError, TrainingError
from trainers.process import cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from datapack.executor import Advance
    from trainers.config import Config
    from trainers.dataset.coco import Coco
    from trainers.dataset.verify import Dataset
    from trainers.log import Log


List = Literal["train", "eval"]  # the two COCO files that a configuration names


@dataclass(frozen=True)
class Images:
    """N images of the dataset, with their files and the layout of their decoded pixels."""

    coco: Coco
    names: tuple[str, ...]  # N, in the manifest
    layout: Layout
    dataset: Dataset
    turns: TurnRule  # of the whole list, also if these are a part of it

    @classmethod
    def of(cls, coco: Coco, names: Sequence[str], dataset: Dataset, config: Config, turns: TurnRule) -> Images:
        """Lay out the images of a COCO file, whose files have these names in the manifest."""
        hashes = [dataset.manifest.hashes[name] for name in names]
        return cls(coco, tuple(names), Layout.of(coco, hashes, config.image, turns.key), dataset, turns)

    def keep(self, indices: NDArray[np.int64], config: Config) -> Images:
        """Return the images with these indices."""
        names = [self.names[index] for index in indices]
        return Images.of(self.coco.keep(indices), names, self.dataset, config, self.turns)

    @property
    def decoded(self) -> Decoded:
        """A reader that decodes each image from the dataset."""
        return Decoded(self.dataset, self.names, self.layout, self.turns)


def list_images(config: Config, dataset: Dataset, which: List, log: Log) -> Images:
    """Read a COCO file of the dataset and find its images there; of ``eval`` the boxes are not read.

    Images in the dataset's ``missing.csv`` or in the configuration's ``skip_broken`` are left out.

    Raises:
        TrainingError: an image is not in the dataset.
        ConfigError: the file is not in the dataset, or ``skip_broken`` names an unknown image.
        MismatchError: the file differs from the manifest.
    """
    file, folder = _place(config, which)
    name = _in_manifest(dataset, file)
    coco = parse_coco(dataset.read(name), where=dataset.path(name), boxes=which == "train")
    names = find_images(coco.file_names, folder, {*dataset.manifest.hashes, *_missing(dataset)}, dataset.path(name))
    skipped = _skipped(config, dataset, which, coco.file_names, names)
    kept = [index for index, name in enumerate(names) if name in dataset.manifest.hashes and name not in skipped]
    left_out = len(names) - len(kept)
    said = str(Cleaned.of(coco)) if which == "train" else "its boxes are not read"
    log.note(f"{file}: {said}" + (f"; {left_out:,} images left out" if left_out else ""))
    if not kept:
        raise TrainingError("no images are left", where=dataset.path(name))
    coco, names = coco.keep(np.array(kept, np.int64)), tuple(names[index] for index in kept)
    return Images.of(coco, names, dataset, config, _turn_rule(config, dataset, coco, names, log))


def _turn_rule(config: Config, dataset: Dataset, coco: Coco, names: Sequence[str], log: Log) -> TurnRule:
    """Return the rule for EXIF orientation: the images of the list show it, if one has to ask them."""
    sizes = dict(zip(names, map(tuple, coco.sizes.tolist()), strict=True))

    def look(name: str, _advance: Advance) -> bool | None:
        return on_turned_image(dataset.read(name), sizes[name])

    hashes = "".join(dataset.manifest.hashes[name] for name in names).encode()
    key = hashlib.sha256(hashes + coco.sizes.tobytes()).hexdigest()
    return TurnRule(config.image.exif, key, lambda: run_all(look, names, workers=config.workers or cores()), log.note)


def _place(config: Config, which: List) -> tuple[str, str]:
    """Return the COCO file and the folder of its images."""
    data = config.data
    if which == "train":
        return data.train, data.images
    if data.eval is None:
        raise ConfigError("data.eval names no list of images to predict", where="train.yml")
    return data.eval, data.eval_images


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


def _skipped(
    config: Config, dataset: Dataset, which: List, file_names: Sequence[str], names: Sequence[str]
) -> set[str]:
    """Return the names in the manifest of those images of a list that ``skip_broken`` leaves out.

    It may name them as the list does, by their paths below ``data/``, or as the error about them does. A name that is
    in neither list is an error, since it is probably misspelt.
    """
    wanted = set(config.data.skip_broken)
    known = {alias: name for pair in zip(file_names, names, strict=True) for alias, name in _aliases(*pair)}
    if unknown := wanted - known.keys() - _aliases_of_other(config, dataset, which, wanted - known.keys()):
        raise ConfigError("data.skip_broken names an unknown image", where="train.yml", found=min(unknown))
    return {known[alias] for alias in wanted & known.keys()}


def _aliases(file_name: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield each way to write an image with its name in the manifest."""
    yield from ((name, name), (name.removeprefix(f"{PAYLOAD}/"), name), (file_name, name))


def _aliases_of_other(config: Config, dataset: Dataset, which: List, names: set[str]) -> set[str]:
    """Return those of the names that are in the other list. It is read only if there are any to look for."""
    other: List = "eval" if which == "train" else "train"
    file, folder = ("", "") if other == "eval" and config.data.eval is None else _place(config, other)
    path = f"{PAYLOAD}/{file}"
    if not names or path not in dataset.manifest.hashes:
        return set()
    listed = parse_coco(dataset.read(path), where=dataset.path(path), boxes=False).file_names
    return names & {alias for name in listed for place in places(name, folder) for alias, _ in _aliases(name, place)}


def _missing(dataset: Dataset) -> set[str]:
    """Return the files that the dataset lists as missing; a file of this name that a source brought may be anything."""
    name = f"{PAYLOAD}/{MISSING}"
    if name not in dataset.manifest.hashes:
        return set()
    try:
        return {f"{PAYLOAD}/{path}" for path in parse_missing(dataset.read(name))}
    except ValueError:
        return set()
