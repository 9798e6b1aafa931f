"""The files of a repository that a source names."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from datapack.catalog.patterns import Patterns
from datapack.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

_SHOWN = 10  # names in an error


def choose_files(files: Mapping[str, T], patterns: Sequence[str] | None, where: str) -> dict[str, T]:
    """Return the files whose names match a pattern, or all without patterns.

    Raises:
        FetchError: there is no file, or a pattern matches none.
    """
    if not files:
        raise FetchError("the repository has no files", where=where)
    if patterns is None:
        return dict(files)
    chosen = Patterns(patterns)
    found = {name: file for name, file in files.items() if chosen.match(name)}
    if chosen.unused:
        names = sorted(files)
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        raise FetchError(
            f"no file matches {min(chosen.unused)!r} in 'files'",
            where=where,
            expected=f"some of {', '.join(names[:_SHOWN])}{more}",
        )
    return found
