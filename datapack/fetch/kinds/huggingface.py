"""Fetch files from the Hugging Face Hub: huggingface_hub lists them, and finds the token."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import ssl
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from datapack.catalog.sources.checksums import parse_digits
from datapack.download.responses import status_line
from datapack.download.secret_headers import NO_HEADERS, SecretHeaders
from datapack.errors import FetchError
from datapack.fetch.context import SourceResult
from datapack.fetch.payload import WantedFile, payload_path
from datapack.fetch.selection import choose_files
from datapack.hashing import GIT_BLOB, Checksum
from datapack.urls import UrlError, check_url, host_of
from datapack.web.certificates import find_authorities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.catalog.sources import HuggingFaceSource
    from datapack.fetch.context import FetchContext

_SITE = "https://huggingface.co"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATIENCE = 30.0  # seconds without an answer
_LATER = "run the same command again later"


def fetch_huggingface(source: HuggingFaceSource, context: FetchContext) -> SourceResult:
    """Fetch the files, each of which must have the hash that the Hub lists for it.

    Raises:
        FetchError: the package huggingface_hub is not installed, the revision is not a commit, there is no such
            repository, or its files can't be had.
    """
    hub = _Hub(source)
    files = {file.path: file for file in hub.list_files()}
    prefix = f"{_SITE}/{source.huggingface}/resolve/{source.revision}/"
    wanted = [
        WantedFile(
            payload_path(source.into, name),
            source.label,
            prefix + quote(name),
            _checksum(file, source.label),
            size=file.size,
        )
        for name, file in choose_files(files, source.files, source.label).items()
    ]
    headers = hub.headers()
    chosen = replace(context, named=context.named | {host_of(hub.endpoint)}, headers=lambda: headers)
    failed = chosen.download(wanted, f"files of {source.huggingface}", {_SITE: [hub.endpoint]})
    return SourceResult(failed=failed, hint=hub.access)


def _checksum(file: Any, where: str) -> Checksum:
    """Return the sha256 of a large file, or git's hash of a small one."""
    algorithm, digits = ("sha256", file.lfs.sha256) if file.lfs else (GIT_BLOB, file.blob_id)
    try:
        return parse_digits(algorithm, digits)
    except (ValueError, AttributeError) as error:
        raise FetchError(f"the Hub lists no hash of {file.path}", where=where, found=f"{digits!r:.60}") from error


class _Hub:
    """The Hub, or the mirror of it that the environment names, for one repository."""

    def __init__(self, source: HuggingFaceSource) -> None:
        try:
            import huggingface_hub
        except ImportError as error:
            fix = "install it: pip install 'datapack[huggingface]'"
            raise FetchError("this kind of source needs huggingface_hub", where=source.label, fix=fix) from error
        self._source, self._package = source, huggingface_hub
        self._token = _read_token(source)
        self.endpoint = _endpoint(source)

    @property
    def access(self) -> str:
        """What to do if the Hub refuses something."""
        page = f"{_SITE}/{self._source.huggingface}"
        if self._token:
            return f"check that the token in HF_TOKEN is valid, and that its owner has access at {page}"
        return f"ask for access at {page}, and set HF_TOKEN to a token of the same account"

    def headers(self) -> SecretHeaders:
        """Return the headers that give access to files."""
        return (
            SecretHeaders.to({"Authorization": f"Bearer {self._token}"}, [self.endpoint]) if self._token else NO_HEADERS
        )

    def list_files(self) -> list[Any]:
        """Return the files of the repository at the source's revision, as huggingface_hub describes them."""
        source, kind = self._source, "dataset" if self._source.is_dataset else "model"
        api = self._package.HfApi(endpoint=self.endpoint, token=self._token or False)
        with self._errors():
            _use_own_connections(self._package, self.endpoint)
            if not _COMMIT.fullmatch(source.revision):
                commit = api.repo_info(source.repository, revision=source.revision, repo_type=kind).sha
                raise FetchError(
                    f"the revision {source.revision} is a branch or a tag, whose files can change",
                    where=source.label,
                    expected="a commit",
                    fix=f"write 'revision: {commit}', where it points to now",
                )
            tree = api.list_repo_tree(source.repository, recursive=True, revision=source.revision, repo_type=kind)
            return [entry for entry in tree if isinstance(entry, self._package.RepoFile)]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of huggingface_hub into ours. Their messages are not shown: they may hold what was sent."""
        from huggingface_hub import errors

        where = self._source.label
        try:
            yield
        except FetchError:
            raise
        except errors.OfflineModeIsEnabled:
            raise FetchError("HF_HUB_OFFLINE forbids requests", where=where, fix="unset it") from None
        except errors.RevisionNotFoundError:
            raise FetchError("no such revision", where=where, found=self._source.revision) from None
        except errors.HfHubHTTPError as error:
            status = getattr(error.response, "status_code", 0)
            if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or isinstance(error, errors.GatedRepoError):
                # the Hub answers this for a repository that is not there too
                what = "the Hub gives no access to the repository, or has none of this name"
                raise FetchError(what, where=where, found=status_line(status), fix=self.access) from None
            if status == HTTPStatus.NOT_FOUND:
                fix = "check the name; a dataset is written as datasets/OWNER/NAME"
                raise FetchError("no such repository", where=where, found=status_line(status), fix=fix) from None
            raise FetchError(
                "the Hub gives no list of files", where=where, found=status_line(status), fix=_LATER
            ) from None
        except Exception as error:  # of the packages that it uses, or for an answer of another form
            name = type(error).__name__
            raise FetchError("the Hub gives no list of files", where=where, found=name, fix=_LATER) from None


def _read_token(source: HuggingFaceSource) -> str:
    """Return the token that huggingface_hub finds: in HF_TOKEN, or in the file of ``hf auth login``."""
    from huggingface_hub import get_token

    try:
        token = get_token() or ""
    except Exception as error:
        found = type(error).__name__  # its message may hold a token
        raise FetchError("huggingface_hub can't read its token", where=source.label, found=found) from None
    if not re.fullmatch("[!-~]*", token):
        raise FetchError("the token in HF_TOKEN can't be in a header", where=source.label, fix="copy it again")
    return token


def _endpoint(source: HuggingFaceSource) -> str:
    endpoint = (os.environ.get("HF_ENDPOINT") or _SITE).rstrip("/")
    try:
        return check_url(endpoint)
    except UrlError as error:
        raise FetchError("HF_ENDPOINT can't be used", where=source.label, expected=_SITE, found=error) from error


def _use_own_connections(package: Any, endpoint: str) -> None:
    """Let huggingface_hub trust the certificates that we trust, wait no longer than we do, and print nothing.

    It follows a link to the next page of a list wherever that leads: the token stays with the Hub.
    """
    usual, host = package.get_session(), host_of(endpoint)
    found = find_authorities()
    context = ssl.create_default_context(cafile=found.file or None, capath=found.folder or None)

    def keep_token(request: Any) -> None:
        if host_of(str(request.url)) != host:
            request.headers.pop("authorization", None)

    def client() -> Any:
        hooks = {"request": [*usual.event_hooks["request"][:1], keep_token]}
        return type(usual)(verify=context, timeout=_PATIENCE, follow_redirects=True, event_hooks=hooks)

    package.set_client_factory(client)
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL + 1)
