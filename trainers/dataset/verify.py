"""Check that this is the dataset that the configuration names: digest, names and sizes, then every byte. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.bag.bagit import IDENTIFIER, INFO, OXUM, oxum, parse_info
from datapack.bag.changes import Difference, compare_names
from datapack.bag.listing import Listing, list_payload
from datapack.bag.manifest import MANIFEST, Manifest, sorted_by_bytes
from datapack.bag.tag_file import read_tag_file
from datapack.errors import BagError, ManifestError
from datapack.executor import run_all
from datapack.files import atomic_writer
from datapack.hashing import hash_bytes, hash_file, new_buffer, regular_opener
from datapack.progress import size
from trainers.errors import ConfigError, MismatchError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from datapack.executor import Advance

_REFERENCE = re.compile(r"[\w.-]+@[\w.-]+", re.ASCII)
_DEPTH = 3  # levels of folders that are searched for datasets, to suggest one
_LARGEST = 2_000_000_000  # bytes of a file that is read into memory
_BATCH = 4  # files per unit of work
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FIX = "import the right version, or correct 'digest' if this is the dataset you mean"


@dataclass(frozen=True)
class Dataset:
    """A bag whose manifest has the expected digest. Its files are not checked yet."""

    folder: Path
    reference: str  # name@version, from bag-info.txt
    manifest: Manifest
    listing: Listing

    def path(self, name: str) -> Path:
        """Return the path of a file of the manifest."""
        return self.folder / name

    def read(self, name: str) -> bytes:
        """Read a file and compare what was read with the manifest; raise `MismatchError` if it differs."""
        if name not in self.listing.files:
            raise mismatch(self, Difference(missing=(name,)))
        content, expected = read_file(self.path(name)), self.manifest.hashes[name]
        if (found := hash_bytes(content)) != expected:
            raise MismatchError(
                "this file does not match the manifest of its dataset",
                where=self.path(name),
                expected=f"sha256:{expected}",
                found=f"sha256:{found}",
                fix="import the dataset again, and change nothing in it while a job runs",
            )
        return content


def open_dataset(folder: Path, digest: str, base: Path) -> Dataset:
    """Find the dataset and compare the digest of its manifest with ``digest``.

    Args:
        folder: of the bag.
        digest: ``sha256:`` and 64 hex digits.
        base: the folder that is searched for other datasets, to suggest one if there is none at ``folder``.

    Raises:
        ConfigError: there is no dataset.
        MismatchError: it is another dataset.
    """
    if not (folder / MANIFEST).is_file():
        others = ", ".join(_datasets_below(base)) or "none"
        raise ConfigError(
            f"there is no dataset: no {MANIFEST}",
            where=folder,
            fix=f"set 'dataset' to its folder; datasets below {base}: {others}",
        )
    try:
        manifest = Manifest.read(folder)
    except ManifestError as error:
        raise MismatchError(
            error.what, where=error.where, expected=error.expected, found=error.found, fix=error.fix
        ) from error
    if manifest.digest != digest:
        raise MismatchError("this is another dataset", where=folder, expected=digest, found=manifest.digest, fix=_FIX)
    return Dataset(folder, _reference(folder), manifest, list_payload(folder))


def check_names(dataset: Dataset) -> None:
    """Compare names and the total size with the manifest and ``bag-info.txt``; raise `MismatchError`."""
    difference = compare_names(dataset.manifest, dataset.listing)
    if difference:
        raise mismatch(dataset, difference)
    expected, found = _info(dataset.folder).get(OXUM), oxum(dataset.listing)
    if expected not in {None, found}:
        raise MismatchError(f"the size differs from {INFO}", where=dataset.folder, expected=expected, found=found)


def check_bytes(
    dataset: Dataset,
    *,
    workers: int,
    images: Collection[str] = (),
    visit: Callable[[str, bytes], None] = lambda _name, _content: None,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Compare every file with the manifest, names and bytes, in parallel; pass on the content of intact ``images``.

    Args:
        dataset: what to read.
        workers: threads.
        images: names of files that are read into memory and, if they are intact, passed to ``visit``.
        visit: called in the threads with a name and its content.
        advance: called with the number of bytes read since its last call.

    Raises:
        MismatchError: something is missing, extra or changed; ``details`` lists everything, sorted.
    """
    names = compare_names(dataset.manifest, dataset.listing)
    check = _Check(dataset, images, visit)
    present = (name for name in dataset.manifest.hashes if name in dataset.listing.files)
    batches = iter(lambda: list(islice(present, _BATCH)), [])
    changed = [name for batch in run_all(check.changed, batches, workers=workers, advance=advance) for name in batch]
    difference = Difference(names.missing, names.extra, tuple(sorted_by_bytes({*names.changed, *changed})))
    if difference:
        raise mismatch(dataset, difference)


@dataclass(frozen=True)
class _Check:
    """Compares files with the manifest, in threads."""

    dataset: Dataset
    images: Collection[str]
    visit: Callable[[str, bytes], None]

    def changed(self, names: list[str], advance: Advance) -> list[str]:
        """Return those of the files that differ from the manifest."""
        buffer = new_buffer()
        hashes = self.dataset.manifest.hashes
        return [name for name in names if self._hash(name, buffer, advance) != hashes[name]]

    def _hash(self, name: str, buffer: memoryview, advance: Advance) -> str:
        path = self.dataset.path(name)
        if name not in self.images:
            with _reading(path):
                return hash_file(path, buffer=buffer, advance=advance)
        content = read_file(path)
        found = hash_bytes(content)
        if found == self.dataset.manifest.hashes[name]:
            self.visit(name, content)
        advance(len(content))
        return found


def read_file(path: Path) -> bytes:
    """Read a regular file; raise `TrainingError` if it can't be read, or is too large for memory."""
    with _reading(path), open(path, "rb", opener=regular_opener) as file:
        length = os.fstat(file.fileno()).st_size
        if length > _LARGEST:
            expected = f"at most {size(_LARGEST)} for an image or a list"
            raise TrainingError("the file is too large", where=path, expected=expected, found=size(length))
        return file.read(length + 1)  # a byte more than it had shows that it has grown


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError("can't read this file of the dataset", where=path, found=error.strerror or error) from error


def mismatch(dataset: Dataset, difference: Difference) -> MismatchError:
    """Return the error that lists how the files differ from the manifest."""
    return MismatchError(
        "the data does not match its manifest",
        where=dataset.folder,
        found=difference,
        fix="import it again",
        details=difference.lines(),
    )


@dataclass(frozen=True)
class Receipt:
    """The result of a full check, kept in ``/scratch``: when it ran, and which files it found intact."""

    path: Path

    @classmethod
    def of(cls, dataset: Dataset, scratch: Path) -> Receipt:
        """Return the receipt of a dataset, which may not exist yet."""
        return cls(scratch / f"checked-{dataset.manifest.digest.removeprefix('sha256:')[:16]}.json")

    def write(self, dataset: Dataset) -> None:
        """Write it, if ``/scratch`` can be written to."""
        content = {"dataset": dataset.manifest.digest, "files": _state(dataset), "checked": _now()}
        with contextlib.suppress(OSError), atomic_writer(self.path) as file:
            file.write(json.dumps(content).encode() + b"\n")

    def checked(self, dataset: Dataset) -> str:
        """Return when exactly these files were fully checked, or an empty string."""
        try:
            content = json.loads(read_file(self.path))
            same = (content["dataset"], content["files"]) == (dataset.manifest.digest, _state(dataset))
            return _now(time.strptime(content["checked"], _TIME)) if same else ""
        except (TrainingError, ValueError, LookupError, TypeError, RecursionError):
            return ""


def summary(dataset: Dataset, verify: str, decoded: int = 0) -> str:
    """Describe what was checked; only a full check may be called "verified".

    Args:
        dataset: what was checked.
        verify: ``full`` or ``quick``.
        decoded: the number of images that were compared with the manifest in order to decode them.
    """
    what = "verified, every byte" if verify == "full" else "names and total size match, no byte was checked"
    if verify != "full" and decoded:
        what = f"names and total size match, and of the bytes those of the {decoded:,} images that were decoded"
    return (
        f"{dataset.reference}: {what} (verify: {verify}): {len(dataset.listing.files):,} files, "
        f"{size(dataset.listing.size)}, {dataset.manifest.digest}"
    )


def _state(dataset: Dataset) -> str:
    lines = (f"{name} {file.size} {file.mtime_ns}\n" for name, file in sorted(dataset.listing.files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _now(at: time.struct_time | None = None) -> str:
    return time.strftime(_TIME, at or time.gmtime())


def _info(folder: Path) -> dict[str, str]:
    """Read ``bag-info.txt``; return nothing if it can't be read."""
    try:
        return parse_info(read_tag_file(folder / INFO))
    except BagError:
        return {}


def _reference(folder: Path) -> str:
    """Return what ``bag-info.txt`` calls the dataset, which the last line of a job repeats, or the folder's name."""
    name = _info(folder).get(IDENTIFIER, "")
    return name if _REFERENCE.fullmatch(name) else folder.name


def _datasets_below(base: Path) -> list[str]:
    """Return the folders below ``base`` that hold a manifest, relative to it."""
    found = []
    for folder, below, files in os.walk(base):
        path = Path(folder).relative_to(base)
        if MANIFEST in files:
            found.append(str(path))
        if MANIFEST in files or len(path.parts) >= _DEPTH:
            below.clear()
    return sorted(found)
