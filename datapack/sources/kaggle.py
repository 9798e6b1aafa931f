"""Files of a Kaggle competition or dataset."""

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

from pydantic import Field

from datapack.disk import disk_errors
from datapack.download.content import WrongContentError, check_content
from datapack.download.web import parse_retry_after, status_line
from datapack.errors import FetchError
from datapack.files import TEMPORARY_PREFIX, sync, sync_folder
from datapack.manifest import FileStat, hash_file
from datapack.payload import Wanted
from datapack.sources.credentials import MAKE_ONE, find_kaggle_credential, kaggle_places
from datapack.sources.source import PayloadFolder, PayloadPath, Source, join

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from requests import RequestException

    from datapack.download import Downloader
    from datapack.payload import Payload

_SITE = "https://www.kaggle.com"
_LATER = "run the same command again later: Kaggle can refuse for over half an hour"


class KaggleSource(Source):
    """Files of a competition (``fathomnet2024``), or of a dataset (``owner/name``, ``owner/name/versions/3``)."""

    kaggle: str = Field(
        pattern=r"^[\w-]+(/[\w-]+(/versions/[1-9][0-9]*)?)?$",
        description="a competition's name, or a dataset's owner/name",
    )
    files: tuple[PayloadPath, ...] = Field(min_length=1, description="the files to fetch")
    into: PayloadFolder = Field(
        "", description="the payload folder that the files go into; the payload's top by default"
    )

    def fetch(self, payload: Payload) -> None:
        """Fetch the files with kagglehub, which checks the md5 that Kaggle sends.

        Raises:
            FetchError: there is no credential that can be used, the competition's rules were not accepted, or Kaggle
                gave no file.
        """
        named_by = f"kaggle {self.kaggle}"
        wanted = {Wanted(join(self.into, name), named_by, self._address(name)): name for name in self.files}
        payload.keep(payload.plan(list(wanted)))
        to_fetch = {file: name for file, name in wanted.items() if not payload.has(file)}
        if not to_fetch:
            return
        credential = find_kaggle_credential()
        if credential is None and self._is_competition:
            fix = f"{MAKE_ONE} and set it as KAGGLE_API_TOKEN"
            raise FetchError("no Kaggle credential", where=named_by, expected=f"one in {kaggle_places()}", fix=fix)
        with payload.reporter.progress(f"files of {named_by}", len(to_fetch), "files") as advance:
            for file, name in to_fetch.items():
                self._bring(payload, file, name, credential)
                advance(1)

    @property
    def _is_competition(self) -> bool:
        return "/" not in self.kaggle

    @property
    def page(self) -> str:
        """The competition's or dataset's page, for people."""
        return f"{_SITE}/{'competitions' if self._is_competition else 'datasets'}/{self.kaggle}"

    def _address(self, name: str) -> str:
        """Return a file's address in Kaggle's public API, which is where it comes from for whoever has a credential."""
        if self._is_competition:
            return f"{_SITE}/api/v1/competitions/data/download/{self.kaggle}/{quote(name)}"
        dataset, _, version = self.kaggle.partition("/versions/")
        query = f"?datasetVersionNumber={version}" if version else ""
        return f"{_SITE}/api/v1/datasets/download/{dataset}/{quote(name)}{query}"

    def _bring(self, payload: Payload, file: Wanted, name: str, credential: str | None) -> None:
        target = payload.folder / file.path
        with (
            disk_errors(target),
            tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=payload.folder) as folder,
        ):
            arrived = self._download(name, Path(folder), payload, credential)
            with arrived.open("rb") as opened:
                try:
                    check_content(opened, name)
                except WrongContentError as error:
                    raise FetchError(f"Kaggle gave {error}", where=f"{self.kaggle}/{name}", fix=_LATER) from error
                sync(opened)
            digest = hash_file(arrived)
            target.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(target)
            sync_folder(target.parent)
            payload.add(file, digest, FileStat.of(target.stat()))

    def _download(self, name: str, folder: Path, payload: Payload, credential: str | None) -> Path:
        """Ask for a file, as often as other files are asked for; return where it is, below ``folder``."""
        for tries in itertools.count(1):
            try:
                return self._ask(name, folder / str(tries))
            except _NoFileError as error:
                pause = _pause(error, payload.downloader, tries)
                if pause is None:
                    raise self._refusal(name, error, credential) from error
                payload.reporter.note(f"Kaggle answers {error} for {name}: asked again in {pause:,.0f} s")
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _ask(self, name: str, folder: Path) -> Path:
        """Ask kagglehub for a file once."""
        with _silence():
            import kagglehub
            from kagglehub.exceptions import DataCorruptionError
            from requests import RequestException

            download = kagglehub.competition_download if self._is_competition else kagglehub.dataset_download
            try:
                return Path(download(self.kaggle, path=name, output_dir=os.fspath(folder)))
            except RequestException as error:
                raise _NoFileError.of(error) from None
            except DataCorruptionError:
                raise _NoFileError("a file that is not what its md5 says") from None
            except OSError:  # of the disk
                raise
            except Exception as error:
                found = type(error).__name__  # its words may hold the credential
                raise FetchError("kagglehub failed", where=f"{self.kaggle}/{name}", found=found) from None

    def _refusal(self, name: str, error: _NoFileError, credential: str | None) -> FetchError:
        """Say why there is no file, and what whoever runs this can do about it."""
        where = f"{self.kaggle}/{name}"
        asked_with = f"{error}, asked with {credential or 'no credential'}"
        match error.status, self._is_competition:
            case HTTPStatus.NOT_FOUND, _:
                return FetchError("Kaggle has no such file", where=where, found=error, fix=f"look at {self.page}/data")
            case HTTPStatus.UNAUTHORIZED, _:
                fix = f"is the credential still valid? If not, {MAKE_ONE}"
            case HTTPStatus.FORBIDDEN, True:
                fix = f"accept the competition's rules in the browser at {self.page}/rules"
            case HTTPStatus.FORBIDDEN, False:
                fix = f"look at {self.page} in the browser: its owner may have to let you in"
            case _:
                return FetchError("Kaggle gave no file", where=where, found=error, fix=_LATER)
        return FetchError("Kaggle refuses the file", where=where, found=asked_with, fix=fix)


class _NoFileError(Exception):
    """What Kaggle answered in place of a file; ``status`` is None where there was no answer."""

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
    def is_passing(self) -> bool:
        """Whether another try may do better."""
        busy = {None, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        return self.status in busy or (self.status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR


def _pause(error: _NoFileError, downloader: Downloader, tries: int) -> float | None:
    """Return how many seconds to wait before the next try; None if there is to be none."""
    pause = downloader.backoff(tries) if error.retry_after is None else error.retry_after
    again = error.is_passing and tries < downloader.tries and pause <= downloader.longest_wait
    return pause if again else None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what kagglehub prints and logs, its bar and its advice to upgrade, away from what is reported here."""
    logger = logging.getLogger("kagglehub")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import kagglehub  # noqa: F401 - its first import sets the level that is changed below

        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
