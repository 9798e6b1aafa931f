"""The images that a COCO file lists."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from datapack.catalog.sources.base import HOSTS, Hosts, PayloadFolder, PayloadPath, Source, Url


class CocoSource(Source):
    """Every image of a COCO file by its ``coco_url``, or by its ``flickr_url`` where it has no ``coco_url``."""

    coco: PayloadPath = Field(description="a COCO file in the payload, fetched by an earlier source")
    into: PayloadFolder = Field(description="the payload folder for the images")
    mirrors: dict[Url, Annotated[tuple[Url, ...], Field(min_length=1)]] = Field(
        default={}, description="for a URL prefix, the complete list of prefixes to try in its place, in order"
    )
    missing: Literal["fail"] | tuple[str, ...] | Annotated[int, Field(strict=True, ge=0)] = Field(
        "fail", description="which images may be missing: none (fail), these file names, or at most this many"
    )
    hosts: Hosts = HOSTS

    @property
    def reads(self) -> str | None:
        return self.coco
