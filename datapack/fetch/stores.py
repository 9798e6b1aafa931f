"""Object stores and other remote file systems, through fsspec: what they hold, and the bytes of an object."""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from datapack.catalog.patterns import is_pattern
from datapack.catalog.sources.storage import AZURE, GS, S3
from datapack.errors import FetchError
from datapack.fetch.store_errors import explain
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.catalog.sources import StorageSource

_BLOCK = 8 << 20  # bytes per request
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')  # an ETag of one part
_EXPRESS = "--x-s3"  # the end of the names of buckets whose ETags are no md5
_OTHER_MD5 = {"aws:kms", "aws:kms:dsse"}  # encryption with which an ETag is no md5
#: What changes with an object, in the words of the various stores.
_MARKS = (
    *("ETag", "etag", "e_tag", "generation", "VersionId", "mtime", "LastModified", "last_modified", "updated"),
    *("modified", "created"),
)
_LOGGERS = ("s3fs", "gcsfs", "gcsfs.retry", "fsspec", "fsspec.asyn", "botocore", "aiobotocore", "google", "asyncio")
_EXTRAS = {**dict.fromkeys(S3, "s3"), **dict.fromkeys(GS, "gs")}
_PACKAGES = {**dict.fromkeys(AZURE, "adlfs"), "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol"}


class Listed(NamedTuple):
    """An object in a listing. Two listings have the same mark of it if it did not change between them."""

    path: str  # in the store
    size: int
    mark: str  # empty where the store tells nothing
    md5: str  # in hex; empty where the store does not tell


class ChangedError(Exception):
    """The bytes of an object are not those that the listing announced."""


class LeadsAwayError(Exception):
    """A store redirects to another server."""


@dataclass(frozen=True)
class Store:
    """A store that is open, and a source's place in it."""

    source: StorageSource
    filesystem: Any
    top: str  # the object, the folder, or the fixed part of the glob
    pattern: str  # of a glob

    @classmethod
    def open(cls, source: StorageSource, connections: int) -> Store:
        """Open a store; nothing is requested yet.

        Raises:
            FetchError: a package is missing.
        """
        import fsspec

        try:
            filesystem = fsspec.filesystem(source.scheme, **_options(source, connections))
            path = type(filesystem)._strip_protocol(source.storage)
        except ImportError as error:
            raise _missing_package(source) from error
        except Exception as error:
            if "Protocol not known" in str(error):
                raise FetchError("fsspec knows no such store", where=source.label, found=source.scheme) from error
            raise failure(error, source) from None
        if source.scheme in S3:
            filesystem.retries = 1  # there is one place that tries again
        parts = path.split("/")
        first = next((number for number, part in enumerate(parts) if is_pattern(part)), None)
        if first is None:
            return cls(source, filesystem, path.rstrip("/"), "")
        return cls(source, filesystem, "/".join(parts[:first]), path)

    def list(self) -> dict[str, Listed]:
        """Return the files that the source names, by their names below `into`, sorted.

        Raises:
            FetchError: the store has no such thing, or refuses to tell.
        """
        try:
            with quiet():
                self.filesystem.invalidate_cache()
                found = self._find()
        except FetchError:
            raise
        except Exception as error:
            raise failure(error, self.source) from None
        files = {self._name(path): _listed(path, info) for path, info in found.items() if _is_file(path, info)}
        if not files:
            raise FetchError("no such object", where=self.source.label, fix="check the name; the store lists none")
        return dict(sorted(files.items()))

    def _find(self) -> Mapping[str, Mapping[str, Any]]:
        filesystem = self.filesystem
        if self.pattern:
            found = filesystem.glob(self.pattern, detail=True)
            if not found:
                filesystem.ls(self.top)  # raises an error if there is nothing to search
            return found  # type: ignore[no-any-return]
        if not self.source.storage.endswith("/"):
            with contextlib.suppress(Exception):  # the error of the listing, which comes next, tells more
                info = filesystem.info(self.top)
                if info["type"] == "file":
                    return {self.top: info}
        return filesystem.find(self.top, detail=True)  # type: ignore[no-any-return]

    def _name(self, path: str) -> str:
        if path == self.top:
            return path.rpartition("/")[2]
        top = f"{self.top}/" if self.top else ""
        if not path.startswith(top):
            raise FetchError("the store lists a file of another folder", where=self.source.label, found=path)
        return path.removeprefix(top)

    def url(self, name: str) -> str:
        """Return the URL of a file, by its name below `into`."""
        url = self.source.storage
        if self.pattern:
            parts = url.split("/")
            first = next(number for number, part in enumerate(parts) if number > 2 and is_pattern(part))  # noqa: PLR2004 - s3: // bucket
            url = "/".join(parts[:first])
        elif self.top.rpartition("/")[2] == name and not url.endswith("/"):
            return url
        return f"{url.rstrip('/')}/{name}"

    def read(self, file: Listed) -> Iterator[bytes]:
        """Yield the bytes of an object.

        S3 is asked for the very object that was listed; other stores are asked before and afterwards.
        """
        with self.filesystem.open(file.path, "rb", block_size=_BLOCK, cache_type="none") as opened:
            while block := opened.read(_BLOCK):
                yield block

    def check(self, file: Listed, size: int, md5: str) -> None:
        """Raise `ChangedError` if these are not the size and the md5 of an object's bytes."""
        if size != file.size:
            raise ChangedError(f"the object changed while it was read: {size:,} bytes, not {file.size:,}")
        if file.md5 and md5 != file.md5 and not self._is_encrypted(file):
            raise ChangedError("the bytes differ from the md5 that the store gives")

    def _is_encrypted(self, file: Listed) -> bool:
        """Whether an object of S3 is encrypted with a key of its own: its ETag then looks like an md5."""
        if self.source.scheme not in S3:
            return False
        bucket, key, _ = self.filesystem.split_path(file.path)
        answer = self.filesystem.call_s3("head_object", Bucket=bucket, Key=key)
        return answer.get("ServerSideEncryption") in _OTHER_MD5 or bool(answer.get("SSECustomerAlgorithm"))


def failure(error: BaseException, source: StorageSource) -> FetchError:
    """Return the error for a request that failed."""
    trouble = explain(error, source.scheme)
    return FetchError(trouble.reason, where=source.label, fix=trouble.fix)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the logs of the libraries, which can show requests and tracebacks."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _options(source: StorageSource, connections: int) -> dict[str, Any]:
    options: dict[str, Any] = {"skip_instance_cache": True}
    if source.endpoint:
        options["endpoint_url"] = source.endpoint
    if source.endpoint and source.scheme in GS:  # gcsfs would ask it over gRPC too, and wait a minute for an answer
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        options["session_kwargs"] = _without_redirects()
    if source.scheme in S3:
        limits = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 1}}
        options |= {"anon": source.anonymous, "config_kwargs": {**limits, "max_pool_connections": connections}}
    elif source.anonymous:
        options |= {"token": "anon"} if source.scheme in GS else {"anon": True}
    return options


def _without_redirects() -> dict[str, Any]:
    """Return options for sessions of aiohttp that go to no other server, such as one of this network's own.

    S3's library follows no redirects.
    """
    import aiohttp  # here: only gcsfs brings it

    async def refuse(*_: object) -> None:
        raise LeadsAwayError

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return {"trace_configs": [trace]}


def _missing_package(source: StorageSource) -> FetchError:
    extra, package = _EXTRAS.get(source.scheme), _PACKAGES.get(source.scheme)
    fix = (
        f"run: pip install 'datapack[{extra}]'"
        if extra
        else f"run: pip install {package or 'what fsspec needs for it'}"
    )
    return FetchError(f"a package for {source.scheme}:// is missing", where=source.label, fix=fix)


def _is_file(path: str, info: Mapping[str, Any]) -> bool:
    return info.get("type", "file") == "file" and not path.endswith("/")  # some mark a folder by an empty object


def _listed(path: str, info: Mapping[str, Any]) -> Listed:
    size = info.get("size")
    marks = [f"{name}={_text(info[name])}" for name in _MARKS if info.get(name) not in {None, "", "null"}]
    return Listed(path, -1 if size is None else int(size), " ".join(marks), _find_md5(path, info))


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _find_md5(path: str, info: Mapping[str, Any]) -> str:
    settings = info.get("content_settings")
    given = info.get("md5Hash") or (settings.get("content_md5") if isinstance(settings, dict) else None)
    with contextlib.suppress(binascii.Error, ValueError, TypeError):
        if given:
            return bytes(given if isinstance(given, (bytes, bytearray)) else base64.b64decode(given)).hex()
    match = _MD5.fullmatch(str(info.get("ETag", "")))
    return match[1] if match and not path.partition("/")[0].endswith(_EXPRESS) else ""


def describe_changes(before: Mapping[str, Listed], after: Mapping[str, Listed]) -> str:
    """Say how two listings differ; nothing if they do not."""
    counts = {
        "changed": sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
        "new": sorted(after.keys() - before.keys()),
        "gone": sorted(before.keys() - after.keys()),
    }
    parts = [f"{counted(len(names), 'object')} {what}, such as {names[0]}" for what, names in counts.items() if names]
    return "; ".join(parts)
