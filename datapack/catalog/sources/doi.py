"""The files of a record with a DOI."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from datapack.catalog.patterns import check_pattern
from datapack.catalog.sources.base import HOSTS, Hosts, PayloadFolder, Source
from datapack.catalog.sources.headers import HEADERS, Headers

_WRITTEN = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.[0-9]{4,9}(?:\.[0-9]+)*/[!-~]+)", re.IGNORECASE)
_VERSION = r"^[1-9][0-9]*\.[0-9]+$"
FORMS = {_VERSION: "a number such as 1.0, in quotes"}


def _check_doi(text: str) -> str:
    """Return a DOI without ``doi:`` and ``https://doi.org/``."""
    found = _WRITTEN.fullmatch(text.strip())
    if not found or {"?", "#"} & set(found[1]):
        raise ValueError("not a DOI, such as 10.5281/zenodo.1234567")
    return found[1]


class DoiSource(Source):
    """Files of one version of a record in Zenodo, in Figshare or in a Dataverse."""

    doi: Annotated[str, AfterValidator(_check_doi)] = Field(
        description="the DOI of one version of the record, such as 10.5281/zenodo.1234567"
    )
    version: str | None = Field(
        None,
        pattern=_VERSION,
        description="the version, such as 1.0 in quotes: required in a Dataverse, where all versions share a DOI",
    )
    files: tuple[Annotated[str, AfterValidator(check_pattern)], ...] | None = Field(
        None, min_length=1, description="names or patterns of the files to fetch, as in 'exclude'; by default all"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")
    hosts: Hosts = HOSTS
    headers: Headers = HEADERS

    @property
    def page(self) -> str:
        return f"https://doi.org/{self.doi}"
