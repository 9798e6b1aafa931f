"""A finished training: the folder that the trainers leave in ``/safe_outputs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from datapack.catalog.sources.base import PayloadFolder, Source
from datapack.catalog.sources.local import check_outside, is_outside, plain_path

if TYPE_CHECKING:
    from typing import Self


class RunSource(Source):
    """The model of a finished training, with the record of the training and its evaluation.

    Neither its checkpoint nor its report, which may hold images of the data, is taken.
    """

    run: Annotated[str, AfterValidator(plain_path)] = Field(
        description="the folder of a finished training, relative to the folder of datasets.yml"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")
    outside: bool = Field(
        False,
        strict=True,
        description="'true' allows a folder outside that of datasets.yml; others can't rebuild the version from there",
    )

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if not self.outside:
            check_outside("run", self.run)
        return self

    @property
    def is_outside(self) -> bool:
        """Whether the path leads out of the catalog's folder, so that others can't rebuild from it."""
        return is_outside(self.run)
