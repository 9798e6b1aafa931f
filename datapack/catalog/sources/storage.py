"""Files from an object store or another remote file system."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from datapack.catalog.sources.base import PayloadFolder, Source, Url
from datapack.urls import strip_signature

if TYPE_CHECKING:
    from typing import Self

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#][^\x00-\x1f\x7f]*")
# Places of this machine, other kinds of sources, and file systems within file systems.
_OTHERS = {
    **dict.fromkeys(("http", "https"), "write 'url:' for a file from the web"),
    **dict.fromkeys(("file", "local"), "write 'local:' for files of this machine"),
    "hf": "write 'huggingface:' for files from Hugging Face",
    **dict.fromkeys(("zip", "tar", "libarchive"), "fetch the archive, then write 'unpack:'"),
}
_NEVER = {
    *(
        "memory",
        "data",
        "dir",
        "cached",
        "blockcache",
        "filecache",
        "simplecache",
        "reference",
        "git",
        "jlab",
        "jupyter",
    ),
    *("dask", "generic", "asynclocal", "async_wrapper"),
}
S3, GS, AZURE = frozenset({"s3", "s3a"}), frozenset({"gs", "gcs"}), frozenset({"abfs", "abfss", "az"})


def _check_storage(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme in _OTHERS and "::" not in url:
        raise ValueError(f"not the URL of a store: {_OTHERS[scheme]}")
    if scheme in _NEVER:
        raise ValueError(f"{scheme}:// is not a store that others can reach")
    if not _URL.fullmatch(url) or "::" in url:
        raise ValueError("not the URL of a store, such as s3://bucket/folder/")
    if ":" in urlsplit(url).netloc.rpartition("@")[0] or strip_signature(url) != url:
        raise ValueError("a URL with a password or a key: leave it out, the store's own settings are used")
    return url


class StorageSource(Source):
    """A file, a folder or a glob in an object store (``s3://bucket/folder/``), or in another file system of fsspec.

    Names below `into` are as for local files: of a folder's files those below the folder, of a glob's those below its
    fixed part. Credentials are the user's own, and never in the catalog.
    """

    storage: Annotated[str, AfterValidator(_check_storage)] = Field(
        description="the URL of an object, a folder (with a slash at its end) or a glob: s3://, gs://, abfs:// or "
        "any other file system that fsspec knows"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")
    endpoint: Url | None = Field(
        None,
        description="the URL of another store that speaks S3, such as MinIO or Ceph; for gs:// it needs 'anonymous'",
    )
    anonymous: bool = Field(False, strict=True, description="'true' asks a public store without credentials")

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        scheme = self.scheme
        if self.anonymous and scheme not in S3 | GS | AZURE:
            raise ValueError(f"{scheme}:// has no anonymous access: leave out 'anonymous'")
        if self.endpoint and scheme not in S3 | GS:
            raise ValueError(f"{scheme}:// has its host in the URL: leave out 'endpoint'")
        if self.endpoint and scheme in GS and not self.anonymous:  # its token would be good for Google too
            raise ValueError(
                "your Google token would go to another host: add 'anonymous: true' or leave out 'endpoint'"
            )
        return self

    @property
    def scheme(self) -> str:
        return self.storage.partition("://")[0]
