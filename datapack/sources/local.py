"""Files that lie beside the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from datapack.sources.source import Source

if TYPE_CHECKING:
    from datapack.payload import Payload


class LocalSource(Source):
    """A file, a folder or a glob, named from the catalog's folder."""

    local: str = Field(description="a file, a folder or a glob, relative to the folder of datasets.yml")
    into: str = Field("", description="the payload folder that the files go into; the payload's top by default")

    def fetch(self, payload: Payload) -> None:
        raise NotImplementedError
