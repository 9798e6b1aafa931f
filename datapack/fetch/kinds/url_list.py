"""Fetch the files that a list of URLs names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.errors import FetchError
from datapack.fetch.list_file import read_list
from datapack.fetch.listed import fetch_listed
from datapack.fetch.payload import WantedFile, payload_path

if TYPE_CHECKING:
    from datapack.catalog.sources import ListSource
    from datapack.fetch.context import FetchContext, SourceResult


def fetch_list(source: ListSource, context: FetchContext) -> SourceResult:
    """Fetch the files."""
    wanted = [
        WantedFile(
            payload_path(source.into, row.path), f"{source.list}:{row.line}", row.url, row.checksum, size=row.size
        )
        for row in read_list(context.payload.folder / source.list, source.list, source.base)
    ]
    if not wanted:
        raise FetchError("the list names no file", where=source.label)
    return fetch_listed(source, wanted, context, f"files of {source.list}")
