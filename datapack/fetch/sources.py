"""Fetch the sources of a version, in order, into one payload. Each kind of source has its own module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datapack.catalog.sources import CocoSource, KaggleSource, LocalSource, UrlSource
from datapack.errors import FetchError
from datapack.fetch.coco import fetch_coco
from datapack.fetch.failures import report_failures
from datapack.fetch.kaggle import fetch_kaggle
from datapack.fetch.local import fetch_local
from datapack.fetch.url import fetch_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from datapack.bag.listing import Listing
    from datapack.bag.missing import Missing
    from datapack.catalog.sources import Source
    from datapack.download import Failure
    from datapack.fetch.context import FetchContext, SourceResult
    from datapack.fetch.payload import WantedFile

_FETCH: Mapping[type[Source], Callable[[Any, FetchContext], SourceResult]] = {
    CocoSource: fetch_coco,
    KaggleSource: fetch_kaggle,
    LocalSource: fetch_local,
    UrlSource: fetch_url,
}


def fetch_sources(sources: Iterable[Source], context: FetchContext, failures: Path) -> Listing:
    """Fetch every source in order; return the listing of the complete payload.

    Args:
        sources: the sources of the version.
        context: the payload and what fetching needs; complete files in the payload are not fetched again.
        failures: the path of the report of failed downloads.

    Raises:
        FetchError: a source could not provide a file, or two sources provide the same one. Complete files are kept for
            the next run.
    """
    payload = context.payload
    missing: dict[str, Missing] = {}
    failed: dict[WantedFile, Failure] = {}

    def check_failures() -> None:
        report_failures(payload.reference, failed, len(payload.urls) + len(missing) + len(failed), failures)

    payload.begin()
    for source in sources:
        if source.reads is not None and not payload.has(source.reads):
            check_failures()
            raise FetchError(
                "no such file in the payload",
                where=f"coco {source.reads}",
                fix="list the source that provides it before the one that reads it",
            )
        result = _FETCH[type(source)](source, context)
        missing.update(result.missing)
        failed.update(result.failed)
    check_failures()
    payload.add_missing(missing)
    return payload.finish()
