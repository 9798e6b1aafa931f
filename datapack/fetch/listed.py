"""Fetch the files that a list in the payload names, of which some may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.bag.missing import Missing
from datapack.catalog.sources import CocoSource
from datapack.errors import FetchError
from datapack.fetch.context import SourceResult
from datapack.fetch.payload import payload_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.catalog.sources import ListSource
    from datapack.download import Failure
    from datapack.fetch.context import FetchContext
    from datapack.fetch.payload import WantedFile


def fetch_listed(
    source: CocoSource | ListSource, wanted: Sequence[WantedFile], context: FetchContext, label: str
) -> SourceResult:
    """Fetch files from their URLs, or from the source's mirrors.

    Raises:
        FetchError: the source's `missing` names a file that the list does not have, or as in `FetchContext.download`.
    """
    may_miss = _allowed_by_name(source, (file.path for file in wanted))
    failures = context.download(wanted, label, source.mirrors)
    may_miss |= _allowed_by_count(source, failures)
    missing = {
        file.path: Missing(file.url, failure.reason) for file, failure in failures.items() if file.path in may_miss
    }
    return SourceResult(missing, {file: why for file, why in failures.items() if file.path not in may_miss})


def _allowed_by_name(source: CocoSource | ListSource, paths: Iterable[str]) -> set[str]:
    names = source.missing if isinstance(source.missing, tuple) else ()
    allowed = {payload_path(source.into, name) for name in names}
    if unknown := allowed.difference(paths):
        what = "an image that the COCO file" if isinstance(source, CocoSource) else "a file that the list"
        raise FetchError(f"'missing' names {what} does not list", where=source.label, found=min(unknown))
    return allowed


def _allowed_by_count(source: CocoSource | ListSource, failures: Mapping[WantedFile, Failure]) -> set[str]:
    """Return the files that a maximum count allows to be missing: only those that no URL has."""
    gone = {file.path for file, failure in failures.items() if failure.definite}
    return gone if isinstance(source.missing, int) and len(gone) <= source.missing else set()
