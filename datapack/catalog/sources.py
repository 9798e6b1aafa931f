"""The sources of a version, as the catalog describes them; `datapack.fetch` has a function to fetch each kind.

To add a kind, add a model here, list it in `AnySource`, and add a module to `datapack.fetch`. The key with the kind's
name (``coco: train.json``) tells which kind an entry of the catalog has.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from datapack.bag.manifest import check_path
from datapack.catalog.patterns import check_pattern
from datapack.errors import ManifestError
from datapack.urls import check_url

if TYPE_CHECKING:
    from typing import Self


def _check_payload_path(path: str) -> str:
    try:
        return check_path(path)
    except ManifestError as error:
        raise ValueError(f"can't be used as a path: it has {error.found}") from error


def _check_payload_folder(path: str) -> str:
    return _check_payload_path(path.rstrip("/")) if path else path


def _check_below_catalog(path: str) -> str:
    plain = PurePosixPath(path)
    if plain.is_absolute() or ".." in plain.parts or plain == PurePosixPath():
        raise ValueError("not a path below the catalog's folder: put the files there, or datasets.yml above them")
    return str(plain)


def _check_host(host: str) -> str:
    if urlsplit(check_url(f"http://{host}/")).netloc != host or host.endswith(":"):
        raise ValueError("not a host, such as files.example or files.example:8080")
    return host


_KAGGLE = r"^[\w-]+(/[\w-]+(/versions/[1-9][0-9]*)?)?$"
_SHA256 = "^[0-9a-fA-F]{8,64}$"
FORMS = {  # each pattern in words, for errors
    _KAGGLE: "a competition's name, or a dataset as OWNER/NAME or OWNER/NAME/versions/NUMBER",
    _SHA256: "8 to 64 hexadecimal digits",
}

#: A file's path in the payload.
PayloadPath = Annotated[str, AfterValidator(_check_payload_path)]
#: A folder's path in the payload; empty for the payload's top.
PayloadFolder = Annotated[str, AfterValidator(_check_payload_folder)]
#: A URL, or the beginning of one.
Url = Annotated[str, AfterValidator(check_url)]
#: Hosts as URLs write them, with or without a port.
Hosts = tuple[Annotated[str, AfterValidator(_check_host)], ...]
_HOSTS = Field((), description="hosts with private addresses that URLs of a list, and redirects, may lead to")


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


class CocoSource(Source):
    """Every image of a COCO file by its ``coco_url``, or by its ``flickr_url`` where it has no ``coco_url``."""

    coco: PayloadPath = Field(description="a COCO file in the payload, fetched by an earlier source")
    into: PayloadFolder = Field(description="the payload folder for the images")
    mirrors: dict[Url, Annotated[tuple[Url, ...], Field(min_length=1)]] = Field(
        default={}, description="for a URL prefix, the complete list of prefixes to try in its place, in order"
    )
    missing: Literal["fail"] | tuple[str, ...] | Annotated[int, Field(strict=True, ge=0)] = Field(
        "fail", description="which images may be missing: none (fail), these file names, or at most this many"
    )
    hosts: Hosts = _HOSTS

    @property
    def reads(self) -> str | None:
        return self.coco


class KaggleSource(Source):
    """Files of a competition (``fathomnet2024``), or of a dataset (``owner/name``, ``owner/name/versions/3``)."""

    kaggle: str = Field(
        pattern=_KAGGLE,
        description="a competition's name, or a dataset's owner/name",
    )
    files: tuple[PayloadPath, ...] = Field(min_length=1, description="the files to fetch")
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")

    @property
    def is_competition(self) -> bool:
        return "/" not in self.kaggle


class LocalSource(Source):
    """A file, a folder or a glob, named relative to the catalog's folder.

    A file is copied to `into`; so are all files in a folder; a file that a glob matches keeps its path below the glob's
    fixed part. Hidden files in a folder are copied too; as in a shell, a glob matches them only where it names the dot.
    """

    local: Annotated[str, AfterValidator(_check_below_catalog)] = Field(
        description="a file, a folder or a glob, relative to the folder of datasets.yml"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")


class UrlSource(Source):
    """A file by its URL, with its sha256 where that is known."""

    url: Url = Field(description="the file's http or https URL")
    sha256: Annotated[str, Field(pattern=_SHA256), AfterValidator(str.lower)] | None = Field(
        None, description="its sha256, whole or the first 8 or more digits"
    )
    into: PayloadFolder = Field("", description="the payload folder for the file; by default the payload's top")
    name: PayloadPath | None = Field(None, description="the file's name; by default the last part of the URL")
    hosts: Hosts = _HOSTS

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


AnySource = CocoSource | KaggleSource | LocalSource | UrlSource
