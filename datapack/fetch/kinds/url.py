"""Fetch one file from the web."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.fetch.context import SourceResult
from datapack.fetch.payload import WantedFile, payload_path

if TYPE_CHECKING:
    from datapack.catalog.sources import UrlSource
    from datapack.fetch.context import FetchContext


def fetch_url(source: UrlSource, context: FetchContext) -> SourceResult:
    """Fetch the file."""
    path = payload_path(source.into, source.file_name)
    wanted = WantedFile(path, f"url {source.url}", source.url, source.checksum)
    return SourceResult(failed=context.download([wanted], source.file_name))
