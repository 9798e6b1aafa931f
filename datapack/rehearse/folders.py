"""The folders of this machine that a rehearsed container sees, in one private folder that says who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOLDER = "datapack-rehearsal"  # a file that marks the folder, and is locked as long as the rehearsal's process lives


@dataclass(frozen=True)
class Folders:
    """Where a rehearsal's folders are. Its own begin empty; scratch goes when the container has ended."""

    root: Path  # private: others reach nothing below it, whatever the modes there
    data: Path
    outputs: Path
    scratch: Path

    @property
    def own_data(self) -> bool:
        """Whether the data folder is the rehearsal's own, not one that was named."""
        return self.data.parent == self.root

    @property
    def etc(self) -> Path:
        """Where copies of the image's account files are, if they are needed."""
        return self.root / "etc"

    def clear(self) -> None:
        """Delete scratch. What can't be deleted, as its owner is another user, is left: `leftover` finds it."""
        for folder in (self.scratch, self.etc):
            shutil.rmtree(folder, ignore_errors=True)

    def leftover(self) -> Path | None:
        """Return scratch if it could not be deleted."""
        return self.scratch if self.scratch.exists() else None


def check_folders(data: Path | None, outputs: Path | None) -> None:
    """Raise `UsageError` unless the folders that were named can be used: one is there, the other missing or empty."""
    if data is not None and not data.is_dir():
        raise UsageError("no such folder", where="--data", found=data)
    if outputs is not None and outputs.exists() and not outputs.is_dir():
        raise UsageError("not a folder", where="--outputs", found=outputs)
    if outputs is not None and outputs.is_dir() and any(outputs.iterdir()):
        raise UsageError(
            "the folder for the outputs is not empty",
            where=outputs,
            fix="name another with --outputs, or leave it out for a fresh one",
        )


@contextlib.contextmanager
def open_folders(parent: Path, data: Path | None, outputs: Path | None, anyone: bool) -> Iterator[Folders]:
    """Make the folders of one rehearsal in a new folder below ``parent``.

    Args:
        parent: where rehearsals of this image are kept.
        data: the folder that is shown as /safe_data; by default an empty one.
        outputs: the folder that is shown as /safe_outputs, missing or empty; by default one in the new folder.
        anyone: let any user write to them while the rehearsal lasts. Only a folder that was named can be reached by
            others in that time; a data folder that was named is left as it is.
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
    """Say whether the process that made a rehearsal's folder is gone; None where the folder itself is not there."""
    try:
        if not root.is_dir():
            return None
        with (root / _HOLDER).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:  # it is held, or it is another user's
        return False
    return True


def remove_abandoned(root: Path) -> None:
    """Delete what nobody needs of a rehearsal that was killed; its outputs stay.

    A container's label says where that is, and anybody may write labels: what is not marked as a rehearsal's is left.
    """
    if not (root / _HOLDER).is_file():
        return
    for name in ("scratch", "etc"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / _HOLDER).unlink(missing_ok=True)
    _remove_empty(root / "safe_data", root / "safe_outputs", root)


def _new(parent: Path) -> Path:
    """Make a folder that no other rehearsal has and that no other user can look into."""
    prefix = time.strftime("%Y%m%d-%H%M%S-")
    return parent / tempfile.mkdtemp(prefix=prefix, dir=parent)


@contextlib.contextmanager
def _held(root: Path) -> Iterator[None]:
    with (root / _HOLDER).open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            (root / _HOLDER).unlink()


@contextlib.contextmanager
def _writable(folders: tuple[Path, ...]) -> Iterator[None]:
    """Let any user write to folders for a while."""
    modes = {folder: folder.stat().st_mode & 0o7777 for folder in folders}
    try:
        for folder in folders:
            folder.chmod(0o777)
        yield
    finally:
        for folder, mode in modes.items():
            with contextlib.suppress(OSError):  # scratch is gone; a container may have taken a folder over
                folder.chmod(mode)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not empty, or not there
            folder.rmdir()
