"""The disk that is written to: what it has room for, and what it says when it fails."""

from __future__ import annotations

import contextlib
import errno
import shutil
from typing import TYPE_CHECKING

from datapack.errors import DatapackError, FetchError
from datapack.report import size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_AGAIN = "then run the same command again: what is whole is kept"


def check_space(folder: Path, needed: int, error: type[DatapackError] = FetchError) -> None:
    """Raise ``error`` unless the disk under an existing folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise error(
            "not enough space on the disk",
            where=folder,
            expected=size(needed),
            found=f"{size(free)} free",
            fix=f"make room, {_AGAIN}",
        )


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the disk that holds ``path`` into a `FetchError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise _disk_error(error, path) from error


def _disk_error(error: OSError, path: Path) -> FetchError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return FetchError("the disk is full", where=path.parent, found=_free(path), fix=f"make room, {_AGAIN}")
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        fix = "work in a folder that you may write to"
        return FetchError("can't write here", where=path.parent, found=error.strerror, fix=fix)
    return FetchError("can't read or write the file", where=path, found=error.strerror or str(error))


def _free(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return f"{size(shutil.disk_usage(path.parent).free)} free"
    return None
