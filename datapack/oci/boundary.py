"""The boundary for everything that others wrote: any failure to read it becomes one error."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING

from datapack.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zlib.error,
)


@contextlib.contextmanager
def boundary(where: object) -> Iterator[None]:
    """Turn any failure to read a part of an image into an `ImageError` of one line that says where it is."""
    try:
        yield
    except FAILURES as error:
        found = f"{type(error).__name__} {error}"[:200]
        raise ImageError("not an image that can be read", where=where, found=found) from error
