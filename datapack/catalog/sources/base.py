"""What all kinds of sources share: the model, and the types of their fields."""

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


def name_in_url(url: str) -> str:
    """Return the file name at the end of a URL, or nothing if there is none."""
    last = unquote(urlsplit(url).path.rpartition("/")[2])
    return last if "/" not in last else ""


def mirror_prefixes(mirrors: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return all beginnings of URLs that mirrors name."""
    return (*mirrors, *(prefix for prefixes in mirrors.values() for prefix in prefixes))


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
#: For the beginning of a URL, the beginnings to try in its place.
Mirrors = dict[Url, Annotated[tuple[Url, ...], Field(min_length=1)]]
MIRRORS: dict[str, tuple[str, ...]] = Field(
    default={},
    description="for the beginning of a URL, the complete list of beginnings to try in its place, in order; the "
    "longest that fits a URL counts",
)
#: Which files of a list may be missing.
MayMiss = Literal["fail"] | tuple[str, ...] | Annotated[int, Field(strict=True, ge=0)]
HOSTS = Field((), description="hosts that may have private addresses; over https they get the source's 'headers'")


class Source(BaseModel):
    """An entry under ``sources:`` in the catalog; its fields are the entry's keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exclude: tuple[Annotated[str, AfterValidator(check_pattern)], ...] = Field(
        (),
        description="patterns of files to leave out, such as .git, *.bak or raw/**/*.tmp; a pattern that begins with "
        "* needs quotes",
    )

    @property
    def label(self) -> str:
        """Its kind and what it names, such as ``coco train.json``, for messages."""
        kind = next(name for name in type(self).model_fields if name not in Source.model_fields)
        return f"{kind} {getattr(self, kind)}"

    @property
    def page(self) -> str | None:
        """The public address of what it names, to show and to record, without secrets; None if it has none."""
        return None

    @model_validator(mode="after")
    def _check_headers(self) -> Self:
        if getattr(self, "headers", None) and not (self.named_urls or self.named_hosts):
            raise ValueError("'headers' need 'hosts': the hosts that may get them")
        return self

    @property
    def named_urls(self) -> tuple[str, ...]:
        """The URLs, or beginnings of URLs, that the source itself names, not a list that it reads."""
        return ()

    @property
    def named_hosts(self) -> Hosts:
        """The hosts that it names without a URL."""
        return getattr(self, "hosts", ())

    @property
    def reads(self) -> str | None:
        """The path in the payload of the file that this source reads, which an earlier source must have fetched."""
        return None

    @property
    def origin(self) -> Reference | None:
        """The version of the catalog that the files are from, if they are from another one."""
        return None
