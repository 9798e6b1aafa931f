"""What a run leaves in ``/safe_outputs/<run>/``: files that are complete or absent, and a manifest of all of them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from datapack.bag.manifest import MANIFEST, Manifest
from datapack.files import TEMPORARY_PREFIX, atomic_writer, disk_errors, remove_temporaries, sync
from datapack.hashing import hash_file
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

EVALUATION = "coco_eval.json"  # of the weights in MODEL
LOG = "log.txt"
METRICS = "metrics.jsonl"
MODEL = "model.safetensors"
PREDICTIONS = "predictions.json"
RECORD = "run.json"
REPORT = "report.html"


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """Create the folder if necessary, and keep other jobs out of it.

        Two jobs would remove each other's temporary files and replace each other's checkpoints. The lock is on the
        folder itself, and ends with the process. A disk without locks has none to offer.

        Raises:
            TrainingError: the folder can't be created, or another job works in it.
        """
        self._create()
        with _writing(self.folder):
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            fix = "wait until it ends, or set run to another name"
            raise TrainingError("another job is writing to this folder", where=self.folder, fix=fix) from error
        except OSError:
            pass
        try:
            yield
        finally:
            os.close(descriptor)

    def open(self) -> None:
        """Create the folder if necessary; remove the temporary files of a killed run and the outdated manifest.

        Raises:
            TrainingError: the folder can't be created or written to.
        """
        self._create()
        with _writing(self.folder):
            remove_temporaries(self.folder)
            self.remove(MANIFEST)
            with self.write(".writable"):
                pass
            self.remove(".writable")

    def _create(self) -> None:
        root = self.folder.parent
        if not root.is_dir():
            raise TrainingError("there is no folder for the outputs", where=root, fix=f"mount one at {root}")
        with _writing(self.folder):
            self.folder.mkdir(exist_ok=True)

    def path(self, name: str) -> Path:
        """Return the path of a file of the run."""
        return self.folder / name

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Write a file that appears only once it is complete and on disk; an earlier one stays until then.

        Raises:
            TrainingError: there is no room for it, or it can't be written.
        """
        path = self.path(name)
        with _writing(path), atomic_writer(path) as file:
            yield file

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, its keys in the given order."""
        with self.write(name) as file:
            file.write(json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")

    def write_rows(self, name: str, rows: Iterable[Any]) -> int:
        """Write a JSON list one row at a time, a row per line; return the number of rows."""
        count = 0
        with self.write(name) as file:
            for count, row in enumerate(rows, start=1):
                file.write((b"[\n" if count == 1 else b",\n") + json.dumps(row, allow_nan=False).encode())
            file.write(b"\n]\n" if count else b"[]\n")
        return count

    def append_json(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a line of JSON to a file."""
        with _writing(self.path(name)), self.path(name).open("ab") as file:
            file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
            sync(file)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with _writing(self.path(name)):
            self.path(name).unlink(missing_ok=True)

    def seal(self) -> str:
        """Write the manifest of all files of the run; return its digest, ``sha256:`` and 64 hex digits."""
        with _writing(self.folder):
            names = [path.name for path in self.folder.iterdir() if path.is_file() and path.name != MANIFEST]
            hashes = {name: hash_file(self.path(name)) for name in names if not name.startswith(TEMPORARY_PREFIX)}
        manifest = Manifest.of(hashes)
        with self.write(MANIFEST) as file:
            file.write(manifest.content)
        return manifest.digest


def _writing(path: Path) -> contextlib.AbstractContextManager[None]:
    return disk_errors(path, TrainingError)
