"""The folders of this machine that are mounted in a rehearsed container, in one private folder."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import UsageError
from datapack.workspace.folder import REHEARSAL_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """A rehearsal's folders. Its own start empty; scratch is deleted when the container has ended."""

    root: Path  # private: other users reach nothing below it, whatever the modes there
    data: Path
    outputs: Path
    scratch: Path

    @property
    def own_data(self) -> bool:
        """Whether the data folder is the rehearsal's own and not the user's."""
        return self.data.parent == self.root

    @property
    def aside(self) -> Path:
        """Contains what a runtime itself needs: copies of the image's account files, or the image as a SIF."""
        return self.root / "aside"

    def clear(self) -> None:
        """Delete scratch. What belongs to another user can't be deleted: `leftover` finds it."""
        for folder in (self.scratch, self.aside):
            shutil.rmtree(folder, ignore_errors=True)

    def leftover(self) -> Path | None:
        """Return scratch if it could not be deleted."""
        return self.scratch if self.scratch.exists() else None


def check_folders(data: Path | None, outputs: Path | None) -> None:
    """Raise `UsageError` unless the user's folders are usable: data must exist, outputs must be missing or empty."""
    if data is not None and not data.is_dir():
        raise UsageError("no such folder", where="--data", found=data)
    if outputs is not None and outputs.exists() and not outputs.is_dir():
        raise UsageError("not a folder", where="--outputs", found=outputs)
    if outputs is not None and outputs.is_dir() and any(outputs.iterdir()):
        raise UsageError(
            "the folder for the outputs is not empty",
            where=outputs,
            fix="name another with --outputs, or leave it out for a new one",
        )


@contextlib.contextmanager
def open_folders(parent: Path, data: Path | None, outputs: Path | None, anyone: bool) -> Iterator[Folders]:
    """Create the folders of one rehearsal in a new folder below ``parent``.

    Args:
        parent: contains the rehearsals of this image.
        data: the folder to mount as /safe_data; by default an empty one.
        outputs: the folder to mount as /safe_outputs, missing or empty; by default one in the new folder.
        anyone: let any user write to them during the rehearsal. Other users of this machine can reach only the user's
            own outputs folder in that time; the user's own data folder is not changed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    root = _new(parent)
    folders = Folders(root, data or root / "safe_data", outputs or root / "safe_outputs", root / "scratch")
    try:
        with _held(root):
            for folder in (folders.data, folders.outputs, folders.scratch):
                folder.mkdir(parents=True, exist_ok=True)
            own = (folders.outputs, folders.scratch, *((folders.data,) if folders.own_data else ()))
            with _writable(own if anyone else ()):
                yield folders
    finally:
        folders.clear()
        _remove_empty(root / "safe_data", root / "safe_outputs", root)


def is_abandoned(root: Path) -> bool | None:
    """Whether the process of a rehearsal's folder has ended; None if the folder does not exist."""
    try:
        if not root.is_dir():
            return None
        with (root / REHEARSAL_MARK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:  # it is locked, or belongs to another user
        return False
    return True


def remove_abandoned(root: Path) -> None:
    """Delete the scratch of a killed rehearsal; its outputs stay.

    The folder's path comes from a container's label, which anyone can set: a folder without the marker is
    not touched.
    """
    if not (root / REHEARSAL_MARK).is_file():
        return
    for name in ("scratch", "aside"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / REHEARSAL_MARK).unlink(missing_ok=True)
    _remove_empty(root / "safe_data", root / "safe_outputs", root)


def _new(parent: Path) -> Path:
    """Create a folder that no other rehearsal uses and that no other user can read."""
    prefix = time.strftime("%Y%m%d-%H%M%S-")
    return parent / tempfile.mkdtemp(prefix=prefix, dir=parent)


@contextlib.contextmanager
def _held(root: Path) -> Iterator[None]:
    with (root / REHEARSAL_MARK).open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            (root / REHEARSAL_MARK).unlink()


@contextlib.contextmanager
def _writable(folders: tuple[Path, ...]) -> Iterator[None]:
    """Let any user write to folders during the ``with`` block."""
    modes = {folder: folder.stat().st_mode & 0o7777 for folder in folders}
    try:
        for folder in folders:
            folder.chmod(0o777)
        yield
    finally:
        for folder, mode in modes.items():
            with contextlib.suppress(OSError):  # scratch was deleted; a container may have changed a folder's owner
                folder.chmod(mode)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not empty, or does not exist
            folder.rmdir()
