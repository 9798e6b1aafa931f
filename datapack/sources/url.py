"""One file from the web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, model_validator

from datapack.download.address import check_address
from datapack.payload import Wanted
from datapack.sources.source import PayloadFolder, PayloadPath, Source, join

if TYPE_CHECKING:
    from typing import Self

    from datapack.payload import Payload


class UrlSource(Source):
    """A file by its address, with the hash that it must have where that is known."""

    url: Annotated[str, AfterValidator(check_address)] = Field(description="http or https address of the file")
    sha256: Annotated[str, AfterValidator(str.lower)] | None = Field(
        None, pattern="^[0-9a-fA-F]{8,64}$", description="its sha256, whole or the first 8 or more digits"
    )
    into: PayloadFolder = Field(
        "", description="the payload folder that the file goes into; the payload's top by default"
    )
    name: PayloadPath | None = Field(None, description="the file's name; by default the last part of the address")

    @model_validator(mode="after")
    def _has_name(self) -> Self:
        if not self.name and not self.file_name:
            raise ValueError("the address does not end in a file name: choose one with 'name'")
        return self

    @property
    def file_name(self) -> str:
        """What the file is called in the payload; empty where neither `name` nor the address says it."""
        last = unquote(urlsplit(self.url).path.rpartition("/")[2])
        return self.name or (last if "/" not in last else "")

    def fetch(self, payload: Payload) -> None:
        """Fetch the file; all that can go wrong with it is known at the end, from `Payload.finish`."""
        wanted = Wanted(join(self.into, self.file_name), f"url {self.url}", self.url, self.sha256 or "")
        payload.failed.update(payload.fetch([wanted], self.file_name))
