"""One file from the web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, model_validator

from datapack.catalog.sources.base import HOSTS, Hosts, PayloadFolder, PayloadPath, Source, Url

if TYPE_CHECKING:
    from typing import Self

_SHA256 = "^[0-9a-fA-F]{8,64}$"
FORMS = {_SHA256: "8 to 64 hexadecimal digits"}


class UrlSource(Source):
    """A file by its URL, with its sha256 where that is known."""

    url: Url = Field(description="the file's http or https URL")
    sha256: Annotated[str, Field(pattern=_SHA256), AfterValidator(str.lower)] | None = Field(
        None, description="its sha256, whole or the first 8 or more digits"
    )
    into: PayloadFolder = Field("", description="the payload folder for the file; by default the payload's top")
    name: PayloadPath | None = Field(None, description="the file's name; by default the last part of the URL")
    hosts: Hosts = HOSTS

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        if not self.name and not self.file_name:
            raise ValueError("the URL does not end in a file name: choose one with 'name'")
        return self

    @property
    def file_name(self) -> str:
        """The file's name in the payload; empty where neither `name` nor the URL gives one."""
        last = unquote(urlsplit(self.url).path.rpartition("/")[2])
        return self.name or (last if "/" not in last else "")
