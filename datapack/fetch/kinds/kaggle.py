"""Fetch files of a Kaggle competition or dataset."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import tempfile
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from datapack.download.content import WrongContentError, check_content
from datapack.download.responses import parse_retry_after, status_line
from datapack.errors import DatapackError, FetchError
from datapack.fetch.context import SourceResult
from datapack.fetch.kinds.kaggle_credentials import MAKE_ONE, find_kaggle_credential, kaggle_places
from datapack.fetch.payload import WantedFile, payload_path
from datapack.files import TEMPORARY_PREFIX, FileStat, disk_errors, sync, sync_folder
from datapack.hashing import hash_file
from datapack.web import WebError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from requests import RequestException

    from datapack.catalog.sources import KaggleSource
    from datapack.download import Downloader
    from datapack.fetch.context import FetchContext

_SITE = "https://www.kaggle.com"
_LATER = "run the same command again later: Kaggle can refuse for over half an hour"


def fetch_kaggle(source: KaggleSource, context: FetchContext) -> SourceResult:
    """Fetch the files with kagglehub, which checks the md5 that Kaggle sends.

    Raises:
        FetchError: no credential can be used, the competition's rules were not accepted, or Kaggle sent no file.
    """
    payload, named_by = context.payload, f"kaggle {source.kaggle}"
    wanted = {
        WantedFile(payload_path(source.into, name), named_by, _url(source, name)): name
        for name in source.files
        if not context.excluded.match(name)
    }
    payload.keep(payload.claim(list(wanted)))
    to_fetch = {file: name for file, name in wanted.items() if not payload.has(file.path)}
    if not to_fetch:
        return SourceResult()
    credential = find_kaggle_credential()
    if credential is None and source.is_competition:
        fix = f"{MAKE_ONE} and set it as KAGGLE_API_TOKEN"
        raise FetchError("no Kaggle credential", where=named_by, expected=f"one in {kaggle_places()}", fix=fix)
    with context.reporter.progress(f"files of {named_by}", len(to_fetch), "files") as advance:
        for file, name in to_fetch.items():
            _fetch_file(source, context, file, name, credential)
            advance(1)
    return SourceResult()


def _page(source: KaggleSource) -> str:
    """Return the web page of the competition or dataset."""
    return f"{_SITE}/{'competitions' if source.is_competition else 'datasets'}/{source.kaggle}"


def _url(source: KaggleSource, name: str) -> str:
    """Return a file's URL in Kaggle's public API, where anyone with a credential can download it."""
    if source.is_competition:
        return f"{_SITE}/api/v1/competitions/data/download/{source.kaggle}/{quote(name)}"
    dataset, _, version = source.kaggle.partition("/versions/")
    query = f"?datasetVersionNumber={version}" if version else ""
    return f"{_SITE}/api/v1/datasets/download/{dataset}/{quote(name)}{query}"


def _fetch_file(
    source: KaggleSource, context: FetchContext, file: WantedFile, name: str, credential: str | None
) -> None:
    payload = context.payload
    target = payload.folder / file.path
    with (
        disk_errors(target),
        tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=payload.folder) as folder,
    ):
        arrived = _download(source, context, name, Path(folder), credential)
        with arrived.open("rb") as opened:
            try:
                check_content(opened, name)
            except WrongContentError as error:
                raise FetchError(f"Kaggle sent {error}", where=f"{source.kaggle}/{name}", fix=_LATER) from error
            sync(opened)
        digest = hash_file(arrived)
        target.parent.mkdir(parents=True, exist_ok=True)
        arrived.replace(target)
        sync_folder(target.parent)
        payload.add(file, digest, FileStat.of(target.stat()))


def _download(source: KaggleSource, context: FetchContext, name: str, folder: Path, credential: str | None) -> Path:
    """Download a file with the downloader's number of tries; return its path below ``folder``."""
    for tries in itertools.count(1):
        try:
            return _try_download(source, name, folder / str(tries))
        except _NoFileError as error:
            pause = _pause(error, context.downloader, tries)
            if pause is None:
                raise _refusal(source, name, error, credential) from error
            context.reporter.note(f"Kaggle answers {error} for {name}: trying again in {pause:,.0f} s")
            time.sleep(pause)
    raise AssertionError("unreachable")


def _try_download(source: KaggleSource, name: str, folder: Path) -> Path:
    """Download a file with kagglehub, one try."""
    from datapack.web.for_requests import guarded_requests

    with _silence(), guarded_requests():
        import kagglehub
        from kagglehub.exceptions import DataCorruptionError
        from requests import RequestException

        download = kagglehub.competition_download if source.is_competition else kagglehub.dataset_download
        try:
            return Path(download(source.kaggle, path=name, output_dir=os.fspath(folder)))
        except RequestException as error:
            raise _NoFileError.of(error) from None
        except WebError as error:
            raise _NoFileError(f"no answer ({error})") from None
        except DataCorruptionError:
            raise _NoFileError("a file with the wrong md5") from None
        except (OSError, DatapackError):  # of the disk, or of a setting
            raise
        except Exception as error:
            found = type(error).__name__  # its message may contain the credential
            raise FetchError("kagglehub failed", where=f"{source.kaggle}/{name}", found=found) from None


def _refusal(source: KaggleSource, name: str, error: _NoFileError, credential: str | None) -> FetchError:
    """Return an error that says why there is no file and what to do."""
    where, page = f"{source.kaggle}/{name}", _page(source)
    match error.status, source.is_competition:
        case HTTPStatus.NOT_FOUND, _:
            return FetchError("Kaggle has no such file", where=where, found=error, fix=f"see {page}/data for the files")
        case HTTPStatus.UNAUTHORIZED, _:
            fix = f"check whether the credential is still valid; if not, {MAKE_ONE}"
        case HTTPStatus.FORBIDDEN, True:
            fix = f"accept the competition's rules in the browser at {page}/rules"
        case HTTPStatus.FORBIDDEN, False:
            fix = f"open {page} in the browser: its owner may have to give you access"
        case _:
            return FetchError("Kaggle sent no file", where=where, found=error, fix=_LATER)
    found = f"{error}, with {credential or 'no credential'}"
    return FetchError("Kaggle refuses the file", where=where, found=found, fix=fix)


class _NoFileError(Exception):
    """What Kaggle answered instead of a file; ``status`` is None if there was no answer."""

    def __init__(self, reason: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.retry_after = status, retry_after

    @classmethod
    def of(cls, error: RequestException) -> Self:
        response = error.response
        if response is None:
            return cls(f"no answer ({type(error).__name__})")
        retry_after = parse_retry_after(response.headers.get("Retry-After"))
        return cls(status_line(response.status_code), response.status_code, retry_after)

    @property
    def is_temporary(self) -> bool:
        """Whether another try may succeed."""
        busy = {None, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        return self.status in busy or (self.status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR


def _pause(error: _NoFileError, downloader: Downloader, tries: int) -> float | None:
    """Return the seconds to wait before the next try, or None if there is none."""
    pause = downloader.backoff(tries) if error.retry_after is None else error.retry_after
    retry = error.is_temporary and tries < downloader.tries and pause <= downloader.longest_wait
    return pause if retry else None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide kagglehub's output and log: its progress bar, and its advice to upgrade."""
    logger = logging.getLogger("kagglehub")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import kagglehub  # noqa: F401 - its first import sets the level that is changed below

        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
