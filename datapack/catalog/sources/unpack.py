"""The files in archives that earlier sources fetched."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from datapack.catalog.patterns import check_pattern, is_pattern
from datapack.catalog.sources.base import PayloadFolder, Source, check_payload_path


def _check_archives(path: str) -> str:
    return check_pattern(path) if is_pattern(path) else check_payload_path(path)


class UnpackSource(Source):
    """The files of a zip or tar archive in the payload, which take the archive's place.

    Several archives can be named by a pattern, as in ``exclude``.
    """

    unpack: Annotated[str, AfterValidator(_check_archives)] = Field(
        description="an archive in the payload, fetched by an earlier source, or a pattern of several: zip or tar, "
        "plain or compressed with gzip, bzip2, xz or zstd"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")
    folder: PayloadFolder = Field(
        "", description="the only folder of the archive to unpack, whose own name is left out; by default all of it"
    )
    keep: bool = Field(False, strict=True, description="'true' leaves the archive in the payload too")

    @property
    def reads(self) -> str | None:
        return None if is_pattern(self.unpack) else self.unpack
