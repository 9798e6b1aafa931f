"""Writing a record: Markdown, a page and JSON, together in one folder, or none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.files import atomic_writer, new_folder
from datapack.files import check_replaceable as check_folder
from datapack.ingress.markdown import markdown
from datapack.ingress.page import page

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.ingress.record import Record

_WHAT, FILES = "record", ("record.html", "record.json", "record.md")


def check_replaceable(folder: Path) -> None:
    """Raise `DatapackError` if a folder has anything but an earlier record."""
    check_folder(folder, _WHAT, FILES)


def write_record(record: Record, folder: Path) -> list[Path]:
    """Write a record in its three forms and return their paths; a folder with an earlier one is replaced.

    Raises:
        DatapackError: the folder can't be written, or has other files.
    """
    contents = (page(record).encode(), record.to_json(), markdown(record).encode())
    with new_folder(folder, _WHAT, FILES) as part:
        for name, content in zip(FILES, contents, strict=True):
            with atomic_writer(part / name) as file:
                file.write(content)
    return [folder / name for name in FILES]
