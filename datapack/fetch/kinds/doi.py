"""Fetch the files of a record with a DOI."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from datapack.errors import FetchError
from datapack.fetch.answers import NoAnswerError, ask
from datapack.fetch.context import SourceResult
from datapack.fetch.headers import login_hint
from datapack.fetch.payload import WantedFile, payload_path
from datapack.fetch.records import find_files
from datapack.fetch.selection import choose_files

if TYPE_CHECKING:
    from datapack.catalog.sources import DoiSource
    from datapack.fetch.context import FetchContext
    from datapack.fetch.records import RecordFile


def fetch_doi(source: DoiSource, context: FetchContext) -> SourceResult:
    """Fetch the files, which the repository's checksums decide about.

    Raises:
        FetchError: there is no such version of a record, or its files can't be had.
    """
    files: dict[str, RecordFile] = {}
    try:
        for file in find_files(source.doi, source.version, lambda url: ask(context, url, f"record of {source.doi}")):
            if file.name in files:
                raise FetchError(f"two files are called {file.name}", where=source.label)
            files[file.name] = file
    except NoAnswerError as error:
        raise _no_list(source, error) from error
    wanted = {
        WantedFile(payload_path(source.into, name), source.label, file.url, file.checksum, size=file.size): file
        for name, file in choose_files(files, source.files, source.label).items()
    }
    if not source.headers:  # which may give access
        _check_open(source, [file for other, file in wanted.items() if file.closed and not context.excludes(other)])
    return SourceResult(failed=context.download(wanted, f"files of {source.doi}"))


def _no_list(source: DoiSource, error: NoAnswerError) -> FetchError:
    if error.is_status(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        fix = login_hint(source) or "ask its authors for access, and give a token with 'headers' and 'hosts'"
        return FetchError("the record is not open to everybody", where=source.label, found=error, fix=fix)
    fix = "run the same command again later"
    return FetchError("no list of the record's files", where=source.label, found=error, fix=fix)


def _check_open(source: DoiSource, closed: list[RecordFile]) -> None:
    """Refuse files that not everybody can have."""
    if closed:
        name = closed[0].name
        what = f"{name} is not open to everybody" if len(closed) == 1 else f"{len(closed):,} files are not open"
        fix = f"leave it out, as in 'exclude: [{name}]', or give a token with 'headers' and 'hosts'"
        raise FetchError(what, where=source.label, found=closed[0].closed, fix=fix)
