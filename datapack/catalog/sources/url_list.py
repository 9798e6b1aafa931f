"""The files that a list of URLs names."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from datapack.catalog.sources.base import (
    HOSTS,
    MIRRORS,
    Hosts,
    MayMiss,
    Mirrors,
    PayloadFolder,
    PayloadPath,
    Source,
    Url,
    mirror_prefixes,
)
from datapack.catalog.sources.headers import HEADERS, Headers


def _check_folder(url: str) -> str:
    if not url.endswith("/"):
        raise ValueError("not the URL of a folder: it must end in '/'")
    return url


class ListSource(Source):
    """Every file of a list: CSV or TSV with a column ``url``, or what ``sha256sum`` writes, with a `base`."""

    list: PayloadPath = Field(description="a list in the payload, fetched by an earlier source: CSV, TSV or sha256sum")
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")
    base: Annotated[Url, AfterValidator(_check_folder)] | None = Field(
        None, description="the URL of the folder that the list's paths are in, ending in '/', for a list without URLs"
    )
    mirrors: Mirrors = MIRRORS
    missing: MayMiss = Field(
        "fail",
        description="which files may be missing: 'fail' is none; a list of paths of the list is these, for any "
        "reason; a number is at most so many, if no URL has them",
    )
    hosts: Hosts = HOSTS
    headers: Headers = HEADERS

    @property
    def named_urls(self) -> tuple[str, ...]:
        return (*((self.base,) if self.base else ()), *mirror_prefixes(self.mirrors))

    @property
    def reads(self) -> str | None:
        return self.list
