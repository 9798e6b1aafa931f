"""What is known of an image's layers before it is built, and which of them its target has.

If the bag is here, the layers are planned as a build plans them. Otherwise their number follows from the size alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.bag.bagit import read_tags
from datapack.build.diff import open_version
from datapack.build.plan import LAYER_BYTES, NEW_LAYERS, check_one_image
from datapack.build.planner import Planner
from datapack.catalog.packing import count_layers, encode
from datapack.errors import MismatchError
from datapack.fetch.job import FetchOptions
from datapack.hashing import digest_of
from datapack.image.config import dataset_folder
from datapack.image.layers import data_layers, program_layer, tag_layer
from datapack.oci.layout import Layout
from datapack.registry import RegistryClient, Repository
from datapack.targets.registry import pushed_name
from datapack.versions.cost import Amount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from datapack.build.plan import Group
    from datapack.build.planner import Lines
    from datapack.catalog.lock import Lock, LockEntry
    from datapack.catalog.model import Catalog, Entry
    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

_FILE_OVERHEAD = 1024  # bytes that a file's header and padding take in a layer, about
_TAGS_AND_PROGRAM = 2  # layers


@dataclass(frozen=True)
class PlannedLayer:
    """A layer above the base: its size, and its digest if it was built before."""

    size: int
    digest: str = ""


@dataclass(frozen=True)
class ImageCost:
    """The layers of an image above its base, and those that its target does not have. ``files`` counts layers."""

    whole: Amount
    new: Amount
    problem: str = ""


def plan_layers(
    workspace: Workspace, catalog: Catalog, entry: Entry, lock: Lock, reporter: Reporter
) -> list[PlannedLayer]:
    """Plan the layers of a version whose bag is here, as a build does.

    Raises:
        DatapackError: the bag, or its parent's list of files, is not here.
    """
    planner = Planner(workspace, catalog, reporter, partial(open_version, workspace))
    bag, groups, lock = planner.plan_version(entry, FetchOptions(), lock)
    check_one_image(groups, where=entry.reference)
    folder = dataset_folder(entry.reference)
    sizes = [layer.size for layer in (program_layer(), *data_layers(groups, Path(), folder))]
    sizes.append(tag_layer(read_tags(bag.path), folder).size)
    known = _known_digests(planner, entry, groups, lock)
    return [PlannedLayer(size, digest) for size, digest in zip(sizes, known, strict=True)]


def _known_digests(planner: Planner, entry: Entry, groups: Sequence[Group], lock: Lock) -> list[str]:
    """Return the digest of each layer: from the version's own image, or of layers that its parent's image has."""
    number = len(groups) + _TAGS_AND_PROGRAM
    locked = lock.entries.get(entry.reference)
    if locked and locked.image and locked.packing == encode(groups):
        return list(locked.image.layers[-number:])
    parent = lock.entries.get(entry.parent) if entry.parent else None
    if entry.parent is None or parent is None or parent.image is None:
        return [""] * number
    layers = planner.layers(planner.catalog.entry(entry.parent), lock).layers
    if len(parent.image.layers) < len(layers) + _TAGS_AND_PROGRAM:
        return [""] * number
    program, *data, _ = parent.image.layers[-(len(layers) + _TAGS_AND_PROGRAM) :]
    by_lines: dict[tuple[tuple[str, str], ...], str] = dict(zip(map(tuple, layers), data, strict=True))
    lines: list[Lines] = [[(file.path, file.sha256) for file in group] for group in groups]
    return [program, *(by_lines.get(tuple(each), "") for each in lines), ""]


def estimate_layers(whole: Amount) -> Amount:
    """Estimate the layers of a version from its files: their number, and their bytes."""
    if whole.bytes is None:
        return Amount(None, None, estimated=True)
    number = min(NEW_LAYERS, max(1, math.ceil(whole.bytes / LAYER_BYTES))) + _TAGS_AND_PROGRAM
    return Amount(number, whole.bytes + (whole.files or 0) * _FILE_OVERHEAD, estimated=True)


def image_cost(layers: Sequence[PlannedLayer], has: Callable[[str], bool]) -> ImageCost:
    """Return the cost of an image whose target may have some of its layers, by their digests."""
    new = [layer.size for layer in layers if not (layer.digest and has(layer.digest))]
    return ImageCost(Amount(len(layers), sum(layer.size for layer in layers)), Amount(len(new), sum(new)))


def locked_cost(locked: LockEntry | None, whole: Amount, has: Callable[[str], bool]) -> ImageCost:
    """Return the cost of an image whose bag is not here: the lock has its layers, if it was built, but not their sizes.

    ``whole`` is the estimate of `estimate_layers`. New layers are taken to be of the mean size.
    """
    if locked is None or locked.image is None or locked.packing is None or whole.bytes is None:
        return ImageCost(whole, whole)
    ours = locked.image.layers[-(count_layers(locked.packing) + _TAGS_AND_PROGRAM) :]
    new = sum(not has(digest) for digest in ours)
    return ImageCost(
        Amount(len(ours), whole.bytes, estimated=True),
        Amount(new, round(whole.bytes * new / len(ours)), estimated=new > 0),
    )


def in_layout(folder: Path) -> Callable[[str], bool]:
    """Return what says whether a layout has a blob, or a killed build left it: one with a final name is whole."""
    layouts = [Layout(folder), Layout(folder.with_name(f"{folder.name}.partial"))]
    return lambda digest: any(layout.blob(digest).is_file() for layout in layouts)


def in_registry(repository: Repository) -> Callable[[str], bool]:
    """Return what asks a registry whether it has a blob."""
    return lambda digest: repository.blob_size(digest) is not None


def open_repository(name: str, entry: Entry, locked: LockEntry | None, *, insecure: bool) -> Repository:
    """Open the repository that is the target; it must answer, and the name must be free or that of the locked image.

    Raises:
        UsageError: ``name`` is not the name of an image.
        ImageError: the registry can't be reached, or refuses to answer.
        MismatchError: a push would be refused, as the name is taken.
    """
    found = pushed_name(name, entry)
    repository = Repository(RegistryClient(found, insecure=insecure))
    there = repository.find_manifest(found.tag)
    image = locked.image.digest if locked and locked.image else ""
    if there is not None and image and digest_of(there) != image:
        raise MismatchError(
            "the registry has another image of this name",
            where=found,
            expected=image,
            found=digest_of(there),
            fix="make it a new version, or replace the other image with --replace",
        )
    return repository
