"""Files from this machine: from the catalog's folder, or from another one if the source says so."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from datapack.catalog.sources.base import PayloadFolder, Source

if TYPE_CHECKING:
    from typing import Self


_NOT_BELOW = (
    "not a path below the catalog's folder: put the files there, or datasets.yml above them, or add 'outside: true'"
)


def is_outside(path: str) -> bool:
    """Whether a path leads out of the catalog's folder, or names it in a way that holds only on this machine."""
    plain = PurePosixPath(path)
    return plain.is_absolute() or ".." in plain.parts


def check_outside(field: str, path: str) -> None:
    """Refuse a path outside the catalog's folder, which the source does not allow; the error is about its field."""
    if is_outside(path):
        details = InitErrorDetails(type="value_error", loc=(field,), input=path, ctx={"error": ValueError(_NOT_BELOW)})
        raise ValidationError.from_exception_data("Source", [details])


def plain_path(path: str) -> str:
    """Return a path of the catalog's machine without what changes nothing; raise `ValueError` if it names no file."""
    plain = PurePosixPath(path)
    if not path or plain == PurePosixPath() or "\0" in path:
        raise ValueError("not a path below the catalog's folder: name a file, a folder or a glob")
    return str(plain)


class LocalSource(Source):
    """A file, a folder or a glob, named relative to the catalog's folder.

    A file is copied to `into`; so are all files in a folder; a file that a glob matches keeps its path below the glob's
    fixed part. Hidden files in a folder are copied too; as in a shell, a glob matches them only where it names the dot.
    """

    local: Annotated[str, AfterValidator(plain_path)] = Field(
        description="a file, a folder or a glob, relative to the folder of datasets.yml"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")
    outside: bool = Field(
        False,
        strict=True,
        description="'true' allows a path outside the folder of datasets.yml; others can't rebuild the version from "
        "there",
    )
    link: bool = Field(
        False,
        strict=True,
        description="'true' makes hard links to the files instead of copies: no file may then be changed in place",
    )

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if not self.outside:
            check_outside("local", self.local)
        return self

    @property
    def is_outside(self) -> bool:
        """Whether the path leads out of the catalog's folder, so that others can't rebuild from it."""
        return is_outside(self.local)
