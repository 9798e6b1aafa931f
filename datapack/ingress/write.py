"""Writing a record: Markdown, a page and JSON, together in one folder, or none of them."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

from datapack.errors import DatapackError
from datapack.files import TEMPORARY_PREFIX, atomic_writer, disk_errors, sync_folder
from datapack.ingress.markdown import markdown
from datapack.ingress.page import page

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.ingress.record import Record

FILES = ("record.html", "record.json", "record.md")


def check_replaceable(folder: Path) -> None:
    """Raise `DatapackError` if a folder has anything but an earlier record."""
    if not os.path.lexists(folder):
        return
    fix = "move it away, or choose another folder with --to"
    if not folder.is_dir() or folder.is_symlink():
        raise DatapackError("something else is where the record should go", where=folder, fix=fix)
    if others := sorted({path.name for path in folder.iterdir()} - set(FILES)):
        raise DatapackError("the folder has files that are no record", where=folder, found=others[0], fix=fix)


def write_record(record: Record, folder: Path) -> list[Path]:
    """Write a record in its three forms and return their paths; a folder with an earlier one is replaced.

    Raises:
        DatapackError: the folder can't be written, or has other files.
    """
    check_replaceable(folder)
    contents = (page(record).encode(), record.to_json(), markdown(record).encode())
    new, old = (folder.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}") for _ in range(2))
    with disk_errors(folder, DatapackError):
        try:
            new.mkdir(parents=True)
            for name, content in zip(FILES, contents, strict=True):
                with atomic_writer(new / name) as file:
                    file.write(content)
            if folder.is_dir():
                folder.rename(old)
            new.rename(folder)
            sync_folder(folder.parent)
        finally:
            for part in (new, old):
                shutil.rmtree(part, ignore_errors=True)
    return [folder / name for name in FILES]
