"""Images in a folder, without a COCO file: found by their names, measured, hashed as they are decoded.

An image that can't be used does not end the job: it is remembered with the reason, and the report lists it. An image in
a bag is compared with the bag's manifest when it is read; one that differs ends the job.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datapack.bag.bagit import DECLARATION
from datapack.bag.changes import compare_names
from datapack.bag.listing import list_payload
from datapack.bag.manifest import MANIFEST, Manifest
from datapack.errors import BagError, ManifestError
from datapack.executor import run_all
from datapack.hashing import hash_bytes, hash_file, regular_opener
from datapack.text import counted
from trainers.dataset.coco import Category, Coco
from trainers.dataset.decode import LARGEST, BrokenImageError, decode, upright_size
from trainers.dataset.pixels import scaled
from trainers.dataset.verify import read_file
from trainers.errors import ConfigError, MismatchError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from datapack.executor import Advance
    from trainers.dataset.pixels import Array

#: The endings of the formats that `trainers.dataset.decode` reads, in small letters.
ENDINGS = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".j2k", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
_BEGINNING = 256 << 10  # bytes: they show the size of nearly every image
_FIX = "import it again, or leave it out: 'images' in predict.yml names another folder"


@dataclass(frozen=True)
class FoundBag:
    """A bag among the images: the hash of each of its files, by its path below the folder of the images."""

    path: str  # below the folder of the images; empty if it is that folder
    reference: str
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder, by name, in the order of the names' bytes."""

    folder: Path
    names: tuple[str, ...]  # below the folder, with / between folders; bytes that are not UTF-8 as surrogates
    sizes: tuple[int, ...]  # bytes of each
    others: Mapping[str, int]  # how many files have another ending, by ending
    bags: tuple[FoundBag, ...]

    @property
    def key(self) -> str:
        """A hash of the names and sizes: the same images in the same folders give the same run."""
        lines = (os.fsencode(f"{name}\0{size}\n") for name, size in zip(self.names, self.sizes, strict=True))
        return hashlib.sha256(b"".join(lines)).hexdigest()

    def compare(self, name: str, sha256: str) -> None:
        """Compare the sha256 of an image, empty if it can't be read, with the manifest of each bag that it is in.

        Raises:
            MismatchError: one of the manifests says another.
        """
        for bag in self.bags:
            expected = bag.hashes.get(name, sha256)
            if sha256 != expected:
                raise MismatchError(
                    "this image differs from the manifest of its bag",
                    where=self.folder / name,
                    expected=f"sha256:{expected}",
                    found=f"sha256:{sha256}" if sha256 else "a file that can't be read",
                    fix=_FIX,
                )


def find_images(folder: Path, note: Callable[[str], None]) -> ImageFolder:
    """Find the images in a folder and below it. Links, whose number is noted, and what is hidden are left out.

    Every bag on the way is checked against its manifest: its names now, and those of its files that are not images.

    Raises:
        ConfigError: there is no such folder, or no image in it, or two have names that look the same in the results.
        MismatchError: a bag differs from its manifest.
        TrainingError: a folder can't be read.
    """
    if not folder.is_dir():
        raise ConfigError("there is no folder of images", where=folder, fix="correct 'images' in predict.yml")
    found: list[tuple[str, int]] = []
    others: Counter[str] = Counter()
    bags: list[FoundBag] = []
    links = 0
    for path, entries in _walk(folder):
        links += sum(entry.is_symlink() for entry in entries)
        files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        if any(entry.name == DECLARATION for entry in files):
            bags += _bag(folder, path, note)
        for entry in files:
            ending = Path(entry.name).suffix.lower()
            if ending in ENDINGS:
                found.append((f"{path}{entry.name}", entry.stat(follow_symlinks=False).st_size))
            else:
                others[ending or "no ending"] += 1
    if not found:
        named = (sum(others.values()), "other file"), (links, "link")
        raise ConfigError(
            "there are no images",
            where=folder,
            expected=f"files that end with {', '.join(sorted(ENDINGS))}, in any folder",
            found=" and ".join(counted(number, what) for number, what in named if number) or "no file",
            fix="put images there, or name another folder: images in predict.yml",
        )
    if links:
        note(f"{counted(links, 'link')} there {'is' if links == 1 else 'are'} not followed: copy what is meant")
    found.sort(key=lambda one: os.fsencode(one[0]))
    names, sizes = zip(*found, strict=True)
    _check_names(folder, names)
    return ImageFolder(folder, names, sizes, dict(sorted(others.items())), tuple(bags))


def _check_names(folder: Path, names: Sequence[str]) -> None:
    """Refuse two images that the results could not tell apart."""
    name, count = Counter(map(display_name, names)).most_common(1)[0]
    if count > 1:
        raise ConfigError(
            "two images have the same name in the results, where bytes that are not UTF-8 are spelled out",
            where=folder,
            found=name,
            fix="rename one of them",
        )


def _walk(folder: Path) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield each folder's path below ``folder``, with a slash behind it, and its entries that are not hidden."""
    pending = [""]
    while pending:
        path = pending.pop()
        try:
            with os.scandir(folder / path) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            found = error.strerror or error
            raise TrainingError("can't read this folder of images", where=folder / path, found=found) from error
        pending += [f"{path}{entry.name}/" for entry in shown if entry.is_dir(follow_symlinks=False)]
        yield path, shown


def _bag(folder: Path, path: str, note: Callable[[str], None]) -> Iterator[FoundBag]:
    """Check a bag, all but the bytes of its images; yield it if it has a manifest of sha256."""
    bag = folder / path
    name = path.rstrip("/") or str(folder)
    if not (bag / MANIFEST).is_file():
        note(f"{name} is a bag without {MANIFEST}: its images are not compared with anything")
        return
    try:
        manifest, listing = Manifest.read(bag), list_payload(bag)
    except (BagError, ManifestError) as error:
        raise MismatchError(error.what, where=error.where, found=error.found, fix=_FIX) from error
    difference = compare_names(manifest, listing)
    changed = [
        name
        for name, expected in manifest.hashes.items()
        if name in listing.files and Path(name).suffix.lower() not in ENDINGS and hash_file(bag / name) != expected
    ]
    if difference or changed:
        details = (*difference.lines(), *(f"changed  {name}" for name in changed))
        what = "this bag differs from its manifest"
        raise MismatchError(what, where=bag, found=f"{len(details):,} differences", fix=_FIX, details=details)
    note(f"{name} is a bag, {manifest.digest}: each of its images is compared with its manifest")
    yield FoundBag(path, manifest.digest, {f"{path}{name}": sha256 for name, sha256 in manifest.hashes.items()})


@dataclass
class Measured:
    """N images whose sizes are known, and those that can't be used."""

    folder: ImageFolder
    names: tuple[str, ...]  # N
    given: NDArray[np.int32]  # (N, 2) width and height, pixels, upright
    broken: dict[str, str] = field(default_factory=dict)  # why, by name; decoding adds others
    hashes: dict[str, str] = field(default_factory=dict)  # sha256, hex, of what was decoded or found broken

    def coco(self, categories: Sequence[tuple[int, str]]) -> Coco:
        """Return the images as a COCO list without boxes; the ids count from 1."""
        count = len(self.names)
        return Coco(
            file_names=tuple(map(display_name, self.names)),
            urls=("",) * count,
            ids=np.arange(1, count + 1, dtype=np.int64),
            sizes=self.given,
            offsets=np.zeros(count + 1, np.int64),
            bbox=np.empty((0, 4)),
            labels=np.empty(0, np.int64),
            areas=np.empty(0),
            crowd=np.empty(0, np.bool_),
            categories=tuple(Category(identity, name) for identity, name in categories),
        )


def measure(folder: ImageFolder, workers: int, advance: Callable[[int], None]) -> Measured:
    """Read the size of each image from its beginning; call ``advance`` with the number of images done.

    Raises:
        MismatchError: one that can't be used is in a bag, and differs from the bag's manifest.
    """

    def look(name: str, advance: Advance) -> tuple[str, tuple[int, int] | str, str]:
        try:
            return name, _size(folder.folder / name), ""
        except BrokenImageError as error:
            return name, str(error), _hash(folder.folder / name)
        finally:
            advance(1)

    sizes: list[tuple[int, int]] = []
    measured = Measured(folder, (), np.empty((0, 2), np.int32))
    names: list[str] = []
    for name, size, sha256 in run_all(look, folder.names, workers=workers, advance=advance):
        if isinstance(size, str):
            measured.broken[name] = size
            measured.hashes[name] = sha256
            folder.compare(name, sha256)
        else:
            names.append(name)
            sizes.append(size)
    measured.names, measured.given = tuple(names), np.array(sizes, np.int32).reshape(-1, 2)
    return measured


def _size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image, upright; raise `BrokenImageError` if it can't be used."""
    try:
        with open(path, "rb", opener=regular_opener) as file:
            beginning = file.read(_BEGINNING)
        try:
            size = upright_size(beginning)
        except BrokenImageError:
            if len(beginning) < _BEGINNING:
                raise
            size = upright_size(read_file(path))
    except (OSError, TrainingError) as error:
        raise BrokenImageError(_why(error)) from error
    if size[0] * size[1] > LARGEST or not all(size):
        raise BrokenImageError(f"{size[0]} x {size[1]} pixels, and an image may have at most {LARGEST:,}")
    return size


def _hash(path: Path) -> str:
    """Return the sha256 of a broken file, or nothing if it can't be read either."""
    try:
        return hash_file(path)
    except OSError:
        return ""


def _why(error: OSError | TrainingError) -> str:
    if isinstance(error, OSError):
        return f"can't be read: {error.strerror or error}"
    return f"{error.what}: {error.found}" if error.found is not None else error.what


def display_name(name: str) -> str:
    """Return a name in which bytes that are not UTF-8 are spelled out with a backslash, an x and two digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class FolderPixels:
    """The images of a folder, each decoded when it is read and hashed as it is decoded.

    In place of one that turns out to be broken, there are black pixels; `Measured.broken` says why.
    """

    def __init__(self, measured: Measured, min_size: int, max_size: int) -> None:
        self.measured = measured
        self.sizes = scaled(measured.given, min_size, max_size)

    def read(self, index: int) -> Array:
        """Return an image: uint8 (height, width, 3), RGB.

        Raises:
            MismatchError: it is in a bag, and differs from the bag's manifest.
        """
        name, size = self.measured.names[index], self.sizes[index]
        path = self.measured.folder.folder / name
        try:
            content = read_file(path)
            sha256 = self.measured.hashes[name] = hash_bytes(content)
            self.measured.folder.compare(name, sha256)
            return decode(content, self.measured.given[index], size, turns=lambda: True)
        except (BrokenImageError, TrainingError) as error:
            why = _why(error) if isinstance(error, TrainingError) else str(error)
            self.measured.broken[name] = why
            return np.zeros((size[1], size[0], 3), np.uint8)
