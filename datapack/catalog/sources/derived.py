"""What the kinds of sources share that take their files from another version of the catalog."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from datapack.catalog.codes import Code
from datapack.errors import UsageError
from datapack.reference import Reference


def _check_reference(text: str) -> str:
    try:
        return str(Reference.parse(text))
    except UsageError as error:
        raise ValueError(f"not a version of a dataset, such as fathom24@v1: found {text!a}") from error


#: Another version of the catalog, ``name@version``.
OtherVersion = Annotated[str, AfterValidator(_check_reference)]
#: What decides where chance would.
Seed = Annotated[int, Field(strict=True, ge=0)]
SEED = Field(0, description="another seed makes another choice; the same seed makes the same one on every machine")
#: The codes of findings.
Codes = tuple[Code, ...]
DROP = Field(
    (),
    description="codes of findings of 'datapack check', such as DP309: what they concern in the other version is "
    "left out, that is boxes, or images with their rows, or other files",
)
INTO = Field("", description="the payload folder for all files; by default they keep their paths")


def inside(into: str, path: str) -> str:
    """Return where a path of the other version is in the new payload."""
    return "/".join(filter(None, (into, path)))
