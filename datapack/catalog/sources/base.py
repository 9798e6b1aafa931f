"""What all kinds of sources share: the model, and the types of their fields."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datapack.bag.manifest import check_path
from datapack.catalog.patterns import check_pattern
from datapack.errors import ManifestError
from datapack.urls import check_url

if TYPE_CHECKING:
    from datapack.reference import Reference


def check_payload_path(path: str) -> str:
    """Return a path if a payload may have it; raise `ValueError` if not."""
    try:
        return check_path(path)
    except ManifestError as error:
        raise ValueError(f"can't be used as a path: it has {error.found}") from error


def _check_payload_folder(path: str) -> str:
    return check_payload_path(path.rstrip("/")) if path else path


def check_below_catalog(path: str) -> str:
    """Return a path if it is below the catalog's folder; raise `ValueError` if not."""
    plain = PurePosixPath(path)
    if plain.is_absolute() or ".." in plain.parts or plain == PurePosixPath():
        raise ValueError("not a path below the catalog's folder: put the files there, or datasets.yml above them")
    return str(plain)


def _check_host(host: str) -> str:
    if urlsplit(check_url(f"http://{host}/")).netloc != host or host.endswith(":"):
        raise ValueError("not a host, such as files.example or files.example:8080")
    return host


#: A file's path in the payload.
PayloadPath = Annotated[str, AfterValidator(check_payload_path)]
#: A folder's path in the payload; empty for the payload's top.
PayloadFolder = Annotated[str, AfterValidator(_check_payload_folder)]
#: A URL, or the beginning of one.
Url = Annotated[str, AfterValidator(check_url)]
#: Hosts as URLs write them, with or without a port.
Hosts = tuple[Annotated[str, AfterValidator(_check_host)], ...]
HOSTS = Field((), description="hosts with private addresses that URLs of a list, and redirects, may lead to")


class Source(BaseModel):
    """An entry under ``sources:`` in the catalog; its fields are the entry's keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exclude: tuple[Annotated[str, AfterValidator(check_pattern)], ...] = Field(
        (), description="patterns of files to leave out, such as .DS_Store, *.bak or raw/**/*.tmp"
    )

    @property
    def label(self) -> str:
        """Its kind and what it names, such as ``coco train.json``, for messages."""
        kind = next(name for name in type(self).model_fields if name not in Source.model_fields)
        return f"{kind} {getattr(self, kind)}"

    @property
    def reads(self) -> str | None:
        """The path in the payload of the file that this source reads, which an earlier source must have fetched."""
        return None

    @property
    def origin(self) -> Reference | None:
        """The version of the catalog that the files are from, if they are from another one."""
        return None
