"""Files from the catalog's folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from datapack.catalog.sources.base import PayloadFolder, Source, check_below_catalog


class LocalSource(Source):
    """A file, a folder or a glob, named relative to the catalog's folder.

    A file is copied to `into`; so are all files in a folder; a file that a glob matches keeps its path below the glob's
    fixed part. Hidden files in a folder are copied too; as in a shell, a glob matches them only where it names the dot.
    """

    local: Annotated[str, AfterValidator(check_below_catalog)] = Field(
        description="a file, a folder or a glob, relative to the folder of datasets.yml"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")
