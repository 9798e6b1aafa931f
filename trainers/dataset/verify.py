"""The check: is this the dataset that was asked for? Its digest, names and sizes, then every byte. Without torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.bag.changes import Difference, compare_names
from datapack.bag.listing import Listing, list_payload
from datapack.bag.manifest import MANIFEST, Manifest, sorted_by_bytes
from datapack.errors import ManifestError
from datapack.hashing import hash_file, new_buffer, open_regular
from datapack.progress import size
from trainers.errors import ConfigError, MismatchError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

INFO = "bag-info.txt"

_DEPTH = 3  # folders below which a dataset is looked for, to name it where the configuration names another
_FIX = "have it imported again, or correct 'digest' if you mean this one"


@dataclass(frozen=True)
class Dataset:
    """A bag whose manifest is the one that was asked for. Its files may still be anything."""

    folder: Path
    reference: str  # name@version, as the bag says
    manifest: Manifest
    listing: Listing

    @property
    def total(self) -> int:
        """The size of all files, bytes."""
        return sum(file.size for file in self.listing.files.values())

    def path(self, name: str) -> Path:
        """Return where a file of the manifest is."""
        return self.folder / name

    def read(self, name: str) -> bytes:
        """Read a whole file, every byte of which is held against the manifest; raise `MismatchError`."""
        content = read_file(self.path(name))
        if hashlib.sha256(content).hexdigest() != self.manifest.hashes[name]:
            raise mismatch(self, Difference(changed=(name,)))
        return content


def open_dataset(folder: Path, digest: str, base: Path) -> Dataset:
    """Find the dataset and hold its manifest against ``digest``.

    Args:
        folder: the bag's.
        digest: ``sha256:`` and 64 hex digits.
        base: where other datasets are looked for, to name them where there is none at ``folder``.

    Raises:
        ConfigError: there is no dataset.
        MismatchError: it is another one.
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
        raise MismatchError("this is not the manifest that was asked for", where=error.where, found=error) from error
    if manifest.digest != digest:
        raise MismatchError(
            "this is not the dataset that was asked for", where=folder, expected=digest, found=manifest.digest, fix=_FIX
        )
    return Dataset(folder, _info(folder).get("External-Identifier", folder.name), manifest, list_payload(folder))


def check_names(dataset: Dataset) -> None:
    """Hold names and the total size against the manifest and ``bag-info.txt``; raise `MismatchError`."""
    difference = compare_names(dataset.manifest, dataset.listing)
    if not difference and (oxum := _info(dataset.folder).get("Payload-Oxum")) is not None:
        found = f"{dataset.total}.{len(dataset.listing.files)}"
        if oxum != found:
            raise MismatchError(
                "the size of the files is not what the bag says", where=dataset.folder, expected=oxum, found=found
            )
    if difference:
        raise mismatch(dataset, difference)


def check_bytes(
    dataset: Dataset,
    *,
    workers: int,
    images: Collection[str] = (),
    visit: Callable[[str, bytes], None] = lambda _name, _content: None,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Hold every byte against the manifest, in parallel; give the content of each of ``images`` that is right on.

    Args:
        dataset: what to read; its names are compared as well.
        workers: threads.
        images: names of files that are read whole and, if right, given to ``visit``.
        visit: called in the threads, with a name and its content.
        advance: called with the bytes that were read since its last call.

    Raises:
        MismatchError: something is missing, extra or changed; ``details`` has all of it, sorted.
    """
    names = compare_names(dataset.manifest, dataset.listing)

    def check(batch: list[str]) -> list[str]:
        buffer = new_buffer()
        return [name for name in batch if not check_one(name, buffer)]

    def check_one(name: str, buffer: memoryview) -> bool:
        if name not in images:
            with _reading(dataset.path(name)):
                return hash_file(dataset.path(name), buffer=buffer, advance=advance) == dataset.manifest.hashes[name]
        content = read_file(dataset.path(name))
        right = hashlib.sha256(content).hexdigest() == dataset.manifest.hashes[name]
        if right:
            visit(name, content)
        advance(len(content))
        return right

    present = [name for name in dataset.manifest.hashes if name in dataset.listing.files]
    changed = {*names.changed, *in_threads(check, present, workers)}
    difference = Difference(names.missing, names.extra, tuple(sorted_by_bytes(changed)))
    if difference:
        raise mismatch(dataset, difference)


def in_threads(work: Callable[[list[str]], list[str]], names: list[str], workers: int) -> list[str]:
    """Do ``work`` on a few names at a time in threads; return all that it gives. What raises ends it early."""
    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(work, names[start : start + 4]) for start in range(0, len(names), 4)]
        return [name for future in futures for name in future.result()]
    finally:
        pool.shutdown(cancel_futures=True)


def read_file(path: Path) -> bytes:
    """Read a regular file; raise `TrainingError` where it can't be read."""
    with _reading(path), open(path, "rb", buffering=0, opener=open_regular) as file:
        return file.readall()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError("can't read this file of the dataset", where=path, found=error.strerror or error) from error


def mismatch(dataset: Dataset, difference: Difference) -> MismatchError:
    """Make the error that lists how the data differs from what was asked for."""
    return MismatchError(
        "the data is not the data that was asked for",
        where=dataset.folder,
        found=difference,
        fix="have it imported again",
        details=difference.lines(),
    )


@dataclass(frozen=True)
class Receipt:
    """What a finished full check leaves in ``/scratch``: which files, by size and time, were right, and when."""

    path: Path

    @classmethod
    def of(cls, dataset: Dataset, scratch: Path) -> Receipt:
        """Return where the receipt of this dataset is, or will be."""
        return cls(scratch / f"checked-{dataset.manifest.digest.removeprefix('sha256:')[:16]}.json")

    def write(self, dataset: Dataset) -> None:
        """Write it; where ``/scratch`` can't be written there is none."""
        content = {"dataset": dataset.manifest.digest, "files": _state(dataset), "checked": _now()}
        try:
            self.path.write_text(json.dumps(content) + "\n")
        except OSError:
            return

    def checked(self, dataset: Dataset) -> str:
        """Return when these very files were checked in full, or nothing."""
        try:
            content = json.loads(self.path.read_bytes())
            same = (content["dataset"], content["files"]) == (dataset.manifest.digest, _state(dataset))
            return str(content["checked"]) if same else ""
        except (OSError, ValueError, LookupError, TypeError):
            return ""


def summary(dataset: Dataset, verify: str) -> str:
    """Say what was checked; only a full check may say "verified"."""
    looked = "verified, every byte" if verify == "full" else "names and total size are right, no byte was checked"
    return (
        f"{dataset.reference}: {looked} (verify: {verify}): {len(dataset.listing.files):,} files, "
        f"{size(dataset.total)}, {dataset.manifest.digest}"
    )


def _state(dataset: Dataset) -> str:
    lines = (f"{name} {file.size} {file.mtime_ns}\n" for name, file in sorted(dataset.listing.files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _info(folder: Path) -> dict[str, str]:
    """Read ``bag-info.txt``; what can't be read there says nothing."""
    try:
        lines = (folder / INFO).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {key: value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


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
