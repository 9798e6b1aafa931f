"""One file from the web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from datapack.catalog.sources.base import HOSTS, Hosts, PayloadFolder, PayloadPath, Source, Url, name_in_url
from datapack.catalog.sources.checksums import parse_digits
from datapack.catalog.sources.headers import HEADERS, Headers
from datapack.hashing import Checksum
from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from typing import Self

_SHA256 = "^[0-9a-fA-F]{8,64}$"
FORMS = {_SHA256: "8 to 64 hexadecimal digits"}


class UrlSource(Source):
    """A file by its URL, with its sha256 where that is known."""

    url: Url = Field(description="the file's http or https URL")
    sha256: Annotated[str, Field(pattern=_SHA256), AfterValidator(str.lower)] | None = Field(
        None, description="its sha256, in full or its first 8 or more digits"
    )
    sha1: Annotated[str, AfterValidator(lambda text: parse_digits("sha1", text).digits)] | None = Field(
        None, description="its sha1, in full"
    )
    md5: Annotated[str, AfterValidator(lambda text: parse_digits("md5", text).digits)] | None = Field(
        None, description="its md5, in full; a file has one checksum at most"
    )
    into: PayloadFolder = Field("", description="the payload folder for the file; by default the payload's top")
    name: PayloadPath | None = Field(
        None, description="the file's name in the payload; by default the last part of the URL"
    )
    hosts: Hosts = HOSTS
    headers: Headers = HEADERS

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        if not self.name and not self.file_name:
            raise ValueError("the URL does not end in a file name: choose one with 'name'")
        return self

    @model_validator(mode="after")
    def _check_checksums(self) -> Self:
        if sum(digits is not None for digits in (self.sha256, self.sha1, self.md5)) > 1:
            raise ValueError("more than one checksum: keep the first of sha256, sha1 and md5")
        return self

    @property
    def file_name(self) -> str:
        """The file's name in the payload; empty where neither `name` nor the URL gives one."""
        return self.name or name_in_url(self.url)

    @property
    def checksum(self) -> Checksum:
        """What the file is checked with."""
        known = (("sha256", self.sha256), ("sha1", self.sha1), ("md5", self.md5))
        return next((Checksum(algorithm, digits) for algorithm, digits in known if digits), Checksum())

    @property
    def page(self) -> str:
        return hide_secrets(self.url)

    @property
    def named_urls(self) -> tuple[str, ...]:
        return (self.url,)
