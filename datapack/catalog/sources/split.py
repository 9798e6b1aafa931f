"""The images of another version, divided into parts such as train, val and test."""

from __future__ import annotations

import math
import posixpath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from datapack.catalog.sources.base import PayloadFolder, PayloadPath, Source
from datapack.catalog.sources.derived import DROP, INTO, SEED, Codes, OtherVersion, Seed
from datapack.reference import Reference

_PART = r"^[a-z0-9][a-z0-9_-]{0,63}$"
FORMS = {_PART: "lower-case letters, digits, '-' and '_', such as train"}
_CLOSE = 1e-6  # of sums of decimal fractions


def _check_ratios(ratios: dict[str, float]) -> dict[str, float]:
    if len(ratios) == 1:
        raise ValueError("a split needs at least two parts, such as {train: 0.8, val: 0.2}")
    if not math.isclose(total := math.fsum(ratios.values()), 1, abs_tol=_CLOSE):
        raise ValueError(f"the ratios must add up to 1: found {total:g}")
    return ratios


class SplitSource(Source):
    """The images that a COCO file of another version lists, with a COCO file for each part, and its other files."""

    split: OtherVersion = Field(description="the version to divide, such as fathom24@v1")
    coco: PayloadPath | None = Field(
        None,
        description="the COCO file to divide, required if there are several; other COCO files, and images that only "
        "they list, are left out",
    )
    ratios: Annotated[
        dict[Annotated[str, Field(pattern=_PART)], Annotated[float, Field(gt=0, le=1)]],
        Field(min_length=1),
        AfterValidator(_check_ratios),
    ] = Field(
        description="the share of each part, such as {train: 0.8, val: 0.1, test: 0.1}, together 1; each part gets a "
        "COCO file of its name, beside the one that is divided"
    )
    by: Literal["sequence", "image"] = Field(
        "sequence",
        description="'sequence': a sequence of images, such as a dive or a film, is never divided, as its frames "
        "resemble each other; 'image': only an image",
    )
    seed: Seed = SEED
    drop: Codes = DROP
    into: PayloadFolder = INTO

    @property
    def origin(self) -> Reference:
        return Reference.parse(self.split)


def list_of(part: str, coco: str) -> str:
    """Return the path of a part's COCO file: beside the one that is divided, as names in it may be relative to it."""
    return "/".join(filter(None, (posixpath.dirname(coco), f"{part}.json")))
