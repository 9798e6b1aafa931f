"""The images that a COCO file names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeInt

from datapack.sources.source import Source

if TYPE_CHECKING:
    from datapack.payload import Payload


class CocoSource(Source):
    """Every image of a COCO file by its ``coco_url``."""

    coco: str = Field(description="a COCO file in the payload, brought there by an earlier source")
    into: str = Field(description="the payload folder that the images go into")
    mirrors: dict[str, tuple[str, ...]] = Field(
        default={}, description="for a prefix of addresses, all the prefixes to try in its place, in this order"
    )
    missing: Literal["fail"] | tuple[str, ...] | NonNegativeInt = Field(
        "fail", description="what may be missing: nothing, the file names listed, or at most so many files"
    )

    def fetch(self, payload: Payload) -> None:
        raise NotImplementedError
