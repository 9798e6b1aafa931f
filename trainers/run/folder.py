"""What a run leaves in ``/safe_outputs/<run>/``: files that are whole or not there, and a manifest of them all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from datapack.bag.manifest import Manifest
from datapack.hashing import hash_file
from datapack.progress import size
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

CHECKPOINT = "checkpoint.pt"
EVALUATION = "coco_eval.json"  # of the weights in model.pt
LOG = "log.txt"
MANIFEST = "manifest-sha256.txt"  # `sha256sum -c` reads it
METRICS = "metrics.jsonl"
MODEL = "model.pt"
PREDICTIONS = "predictions.json"
RECORD = "run.json"
REPORT = "report.html"

_TEMPORARY = ".partial-"
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    def open(self) -> None:
        """Make the folder, unless it is there; remove what a killed run left half-written.

        Raises:
            TrainingError: it can't be made or written to.
        """
        root = self.folder.parent
        if not root.is_dir():
            raise TrainingError("there is no folder for what comes out", where=root, fix=f"mount one at {root}")
        with disk_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            for path in (*self.folder.glob(f"{_TEMPORARY}*"), self.path(MANIFEST)):  # it is not true any more
                path.unlink(missing_ok=True)
            with whole(self.path(".writable")):
                pass
            self.path(".writable").unlink()

    def path(self, name: str) -> Path:
        """Return where the file ``name`` is, or will be."""
        return self.folder / name

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, its keys in the order given."""
        with whole(self.path(name)) as file:
            file.write(json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")

    def write_rows(self, name: str, rows: Iterable[Any]) -> int:
        """Write a JSON file that is a list, a row a line and one at a time; return how many there are."""
        count = 0
        with whole(self.path(name)) as file:
            for count, row in enumerate(rows, start=1):
                file.write((b"[\n" if count == 1 else b",\n") + json.dumps(row, allow_nan=False).encode())
            file.write(b"\n]\n" if count else b"[]\n")
        return count

    def append_json(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a line of JSON to a file."""
        with disk_errors(self.path(name)), self.path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def seal(self) -> str:
        """Write the manifest of all files of the run; return its digest, ``sha256:`` and 64 hex digits."""
        with disk_errors(self.folder):
            names = [path.name for path in self.folder.iterdir() if path.is_file() and path.name != MANIFEST]
            hashes = {name: hash_file(self.path(name)) for name in names if not name.startswith(_TEMPORARY)}
        manifest = Manifest.of(hashes)
        with whole(self.path(MANIFEST)) as file:
            file.write(manifest.content)
        return manifest.digest


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file that gets the name ``path`` only when it is whole and on disk; what was there stays until then.

    Raises:
        TrainingError: there is no room for it, or it can't be written.
    """
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    try:
        with disk_errors(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk refuses into one line."""
    try:
        yield
    except OSError as error:
        fix = "make room there and start the same job again" if error.errno in _FULL else "check who owns the folder"
        raise TrainingError("can't write", where=path, found=error.strerror or str(error), fix=fix) from error


def need_room(folder: Path, count: int, purpose: str) -> None:
    """Raise `TrainingError` where ``folder`` has no room for ``count`` more bytes."""
    free = shutil.disk_usage(folder).free
    if free < count:
        raise TrainingError(
            f"no room for {purpose}",
            where=folder,
            expected=f"{size(count)} free",
            found=size(free),
            fix="make room there and start the same job again: with resume: auto it goes on from its last checkpoint",
        )
