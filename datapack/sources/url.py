"""One file from the web."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from datapack.sources.source import Source

if TYPE_CHECKING:
    from datapack.payload import Payload


class UrlSource(Source):
    """A file by its address, with the hash that it must have where that is known."""

    url: str = Field(description="http or https address of the file")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{8,64}$", description="its sha256, whole or the first 8 or more digits"
    )
    into: str = Field("", description="the payload folder that the file goes into; the payload's top by default")
    name: str | None = Field(None, description="the file's name; by default the last part of the address")

    def fetch(self, payload: Payload) -> None:
        raise NotImplementedError
