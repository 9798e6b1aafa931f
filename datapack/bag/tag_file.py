"""Tag files: everything in a bag beside its payload. They are read whole, so they must be small, and regular files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from datapack.errors import BagError
from datapack.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.errors import DatapackError

LIMIT = 256 << 20  # bytes: a manifest of a million files


def read_tag_file(path: Path, error: type[DatapackError] = BagError) -> bytes:
    """Read a tag file; raise ``error`` unless it is a regular file of at most `LIMIT` bytes."""
    return read_limited(path, LIMIT, error, follow=False)


def tag_lines(content: bytes, where: object) -> Iterator[str]:
    """Yield the lines of a tag file, split at every line end that Unicode defines, as other BagIt tools do.

    Raises:
        BagError: it is not UTF-8; the error names the line.
    """
    for number, line in enumerate(io.BytesIO(content), start=1):
        try:
            yield from line.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise BagError("not UTF-8", where=f"{where}:{number}", fix="write it in UTF-8") from error
