"""Cut a COCO file: only some images, and their boxes, stay. Everything else stays as it is written, in its order.

The file is read and written row by row, so memory is flat.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.coco.rows import START, read_texts

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from datapack.coco.rows import Row


@dataclass(frozen=True)
class Kept:
    """The rows of a COCO file that stay, and those of its boxes that go although their images stay."""

    images: Container[tuple[int, str]]  # the id and the file_name of each
    ids: Container[int]  # of these images
    dropped: Container[int] = frozenset()  # positions in ``annotations``

    def __contains__(self, row: Row) -> bool:
        """Whether a row stays; those of other lists than ``images`` and ``annotations`` always do."""
        match row.key:
            case "images":
                return (_key(row.value, "id"), _key(row.value, "file_name")) in self.images
            case "annotations":
                return _key(row.value, "image_id") in self.ids and row.position not in self.dropped
        return True


def cut(path: Path, kept: Kept) -> Iterator[bytes]:
    """Yield the parts of a COCO file without the rows that do not stay: a row a line, its text as in the file.

    Raises:
        FetchError: the file is not a COCO file; parts may have been yielded before.
    """
    key, rows = None, 0  # the key that has begun, and how many rows of its list were yielded; -1 if it has no list
    for row, text in read_texts(path):
        if row.position == START:
            before = "{" if key is None else f"{_end(rows)},"
            key, rows = row.key, -1 if text else 0
            yield f"{before}\n{json.dumps(row.key)}: {text or '['}".encode()
        elif row in kept:
            yield f"{',' if rows else ''}\n{text}".encode()
            rows += 1
    yield b"{}\n" if key is None else f"{_end(rows)}\n}}\n".encode()


def _end(rows: int) -> str:
    return "" if rows < 0 else "\n]" if rows else "]"


def _key(row: Any, key: str) -> Any:
    """Return a row's id or name, or None: a row may be anything, and its values too."""
    value = row.get(key) if isinstance(row, dict) else None
    return value if isinstance(value, int | float | str) else None
