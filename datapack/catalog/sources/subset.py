"""Some of the images of another version."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from datapack.catalog.sources.base import PayloadFolder, PayloadPath, Source, check_below_catalog
from datapack.catalog.sources.derived import DROP, INTO, SEED, Codes, OtherVersion, Seed
from datapack.reference import Reference

_Number = Annotated[int, Field(strict=True, ge=1)]
_Names = Annotated[tuple[str, ...], Field(min_length=1)]


class SubsetSource(Source):
    """The images of another version that fit every condition, with their rows in its COCO files, and its other files.

    Images are those that the COCO files list. Without a COCO file, they are the files with an image's name; without
    these, all files.
    """

    subset: OtherVersion = Field(description="the version to choose from, such as fathom24@v1")
    count: _Number | None = Field(
        None,
        description="how many images; a larger number contains those of a smaller one, and one above the number of "
        "images is an error",
    )
    categories: Annotated[tuple[str | Annotated[int, Field(strict=True)], ...], Field(min_length=1)] = Field(
        (),
        description="only images with a box of at least one of these categories, by name or id; their boxes of other "
        "categories stay",
    )
    names: Annotated[str, AfterValidator(check_below_catalog)] | _Names = Field(
        (),
        description="only these images, by path in the payload or by file_name; or a text file with one a line, beside "
        "the catalog or in the other version's payload",
    )
    sequences: _Number | _Names = Field(
        (), description="only images of these sequences (dives, films), by name, or of so many, which the seed chooses"
    )
    min_size: _Number | None = Field(
        None,
        description="only images whose shorter side has at least so many pixels, as the COCO file says, or else the "
        "image itself",
    )
    coco: Annotated[tuple[PayloadPath, ...], Field(min_length=1)] = Field(
        (), description="the COCO files to choose from; by default all. Others are left out"
    )
    seed: Seed = SEED
    drop: Codes = DROP
    into: PayloadFolder = INTO

    @property
    def origin(self) -> Reference:
        return Reference.parse(self.subset)
