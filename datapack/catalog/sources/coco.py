"""The images that a COCO file lists."""

from __future__ import annotations

from pydantic import Field

from datapack.catalog.sources.base import (
    HOSTS,
    MIRRORS,
    Hosts,
    MayMiss,
    Mirrors,
    PayloadFolder,
    PayloadPath,
    Source,
    mirror_prefixes,
)
from datapack.catalog.sources.headers import HEADERS, Headers


class CocoSource(Source):
    """Every image of a COCO file by its ``coco_url``, or by its ``flickr_url`` where it has no ``coco_url``."""

    coco: PayloadPath = Field(description="a COCO file in the payload, fetched by an earlier source")
    into: PayloadFolder = Field(description="the payload folder for the images")
    mirrors: Mirrors = MIRRORS
    missing: MayMiss = Field(
        "fail",
        description="which images may be missing: 'fail' is none; a list of names of the COCO file is these, for any "
        "reason; a number is at most so many, if no URL has them",
    )
    hosts: Hosts = HOSTS
    headers: Headers = HEADERS

    @property
    def named_urls(self) -> tuple[str, ...]:
        return mirror_prefixes(self.mirrors)

    @property
    def reads(self) -> str | None:
        return self.coco
