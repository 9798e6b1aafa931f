"""Records with a DOI: which repository has one, and which files its version has."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from datapack.catalog.sources.checksums import parse_checksum
from datapack.errors import FetchError
from datapack.fetch.answers import NoAnswerError
from datapack.hashing import Checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Ask = Callable[[str], Any]

T = TypeVar("T")

_ZENODO_DOI = re.compile(r"10\.5281/zenodo\.(\d+)", re.IGNORECASE)
_ARTICLE = re.compile(r"(\d+)(?:\.v(\d+))?")  # at the end of a DOI of Figshare: the article, and its version
_ITEM = re.compile(r"/articles/[a-z_]+/[^/]+/\d+(/\d+)?/?\Z")  # a page of Figshare, also at a university
_FIGSHARE = "https://api.figshare.com/v2/articles"
_PAGE = 100  # files in one answer of Figshare
_GONE = "the record was withdrawn"


class RecordFile(NamedTuple):
    """A file of a record; ``closed`` says why not everybody can have it."""

    name: str
    url: str
    checksum: Checksum
    size: int | None
    closed: str = ""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


def find_files(doi: str, version: str | None, ask: Ask) -> list[RecordFile]:
    """Return the files of one version of a record.

    Args:
        doi: its DOI.
        version: the version of a dataset in a Dataverse, where all versions have one DOI.
        ask: returns the JSON at a URL, or raises `NoAnswerError`.

    Raises:
        NoAnswerError: a service gave no answer, or refused.
        FetchError: there is no such record, its DOI stands for all versions, or its files can't be had.
    """
    page = _landing_page(doi, ask)
    host = urlsplit(page).hostname or ""
    is_zenodo = host in {"zenodo.org", "www.zenodo.org"}
    is_figshare = host == "figshare.com" or host.endswith(".figshare.com") or bool(_ITEM.match(urlsplit(page).path))
    if version and (is_zenodo or is_figshare):
        raise FetchError("'version' is only for a Dataverse", where=f"doi {doi}", fix="use the DOI of the version")
    if is_zenodo:
        return _zenodo(doi, page, ask)
    if is_figshare:
        return _figshare(doi, ask)
    return _dataverse(doi, version, page, ask)


class _Handle(_Answer):
    class Value(_Answer):
        type: str
        data: Any

    values: tuple[Value, ...] = ()


def _landing_page(doi: str, ask: Ask) -> str:
    """Return the page that doi.org leads to."""
    try:
        handle = _read(_Handle, ask(f"https://doi.org/api/handles/{quote(doi)}?type=URL"), doi)
    except NoAnswerError as error:
        if error.is_status(HTTPStatus.NOT_FOUND):
            raise FetchError("no such DOI", where=f"doi {doi}", fix="check it at https://doi.org") from error
        raise
    pages = (value.data.get("value") for value in handle.values if value.type == "URL" and isinstance(value.data, dict))
    page = next((page for page in pages if isinstance(page, str)), "")
    if urlsplit(page).scheme not in {"http", "https"}:
        raise FetchError("the DOI leads to no web page", where=f"doi {doi}", found=page[:100] or "nothing")
    return page


class _ZenodoRecord(_Answer):
    class File(_Answer):
        class Links(_Answer):
            self_: str = Field(alias="self")

        key: str
        size: int
        checksum: str
        links: Links

    class Metadata(_Answer):
        access_right: str = "open"
        embargo_date: str = ""

    doi: str
    files: tuple[File, ...] = ()
    metadata: Metadata = Metadata()


def _zenodo(doi: str, page: str, ask: Ask) -> list[RecordFile]:
    found = _ZENODO_DOI.fullmatch(doi) or re.search(r"/records?/(\d+)", page)
    if not found:
        raise FetchError("the DOI leads to no record of Zenodo", where=f"doi {doi}", found=page[:100])
    record = _read(_ZenodoRecord, _ask_for(doi, f"https://zenodo.org/api/records/{found[1]}", ask), doi)
    if record.doi.lower() != doi.lower():
        raise _all_versions(doi, record.doi)
    if not record.files and record.metadata.access_right != "open":
        until = f" until {record.metadata.embargo_date}" if record.metadata.embargo_date else ""
        raise _closed(doi, f"{record.metadata.access_right} access{until}")
    return [RecordFile(file.key, file.links.self_, _checksum(file.checksum, doi), file.size) for file in record.files]


class _Article(_Answer):
    doi: str
    is_embargoed: bool = False
    embargo_date: str | None = None


class _ArticleFile(_Answer):
    name: str
    size: int
    download_url: str
    computed_md5: str | None = ""
    is_link_only: bool = False


def _figshare(doi: str, ask: Ask) -> list[RecordFile]:
    found = _ARTICLE.fullmatch(doi.rpartition("/")[2]) or re.search(rf"\.{_ARTICLE.pattern}$", doi)
    if not found or ".c." in doi:
        raise FetchError("not the DOI of an item of Figshare", where=f"doi {doi}", fix="use that of one of its items")
    address = f"{_FIGSHARE}/{found[1]}"
    if found[2] is None:
        newest = _read(_Article, _ask_for(doi, address, ask), doi).doi
        raise _all_versions(doi, newest) if newest.lower().startswith(f"{doi.lower()}.v") else _other(doi, newest)
    address += f"/versions/{found[2]}"
    article = _read(_Article, _ask_for(doi, address, ask), doi)
    if article.doi.lower() != doi.lower():
        raise _other(doi, article.doi)
    if article.is_embargoed:
        raise _closed(doi, f"embargoed{f' until {article.embargo_date[:10]}' if article.embargo_date else ''}")
    files: list[RecordFile] = []
    while len(files) % _PAGE == 0:
        page = ask(f"{address}/files?page={len(files) // _PAGE + 1}&page_size={_PAGE}")
        rows = _read_all(_ArticleFile, page, doi)
        files += [_figshare_file(row, doi) for row in rows]
        if len(rows) < _PAGE:
            break
    return files


def _figshare_file(row: _ArticleFile, doi: str) -> RecordFile:
    checksum = _checksum(f"md5:{row.computed_md5}", doi) if row.computed_md5 else Checksum()
    closed = "only a link to another place" if row.is_link_only else ""
    return RecordFile(row.name, row.download_url, checksum, None if row.is_link_only else row.size, closed)


class _DatasetVersion(_Answer):
    class File(_Answer):
        class DataFile(_Answer):
            class Checksum(_Answer):
                type: str
                value: str

            class Embargo(_Answer):
                date: str = Field("", alias="dateAvailable")

            id: int
            filesize: int
            checksum: Checksum | None = None
            is_table: bool = Field(False, alias="tabularData")
            original_name: str | None = Field(None, alias="originalFileName")
            original_size: int | None = Field(None, alias="originalFileSize")
            embargo: Embargo | None = None

        label: str
        restricted: bool = False
        folder: str = Field("", alias="directoryLabel")
        data: DataFile = Field(alias="dataFile")

    major: int | None = Field(None, alias="versionNumber")
    minor: int | None = Field(None, alias="versionMinorNumber")
    state: str = Field("RELEASED", alias="versionState")
    files: tuple[File, ...] = ()


class _Dataset(_Answer):
    data: _DatasetVersion


def _dataverse(doi: str, version: str | None, page: str, ask: Ask) -> list[RecordFile]:
    site, where = f"https://{urlsplit(page).netloc}", f"doi {doi}"

    def find(name: str) -> _DatasetVersion:
        return _read(
            _Dataset, ask(f"{site}/api/datasets/:persistentId/versions/{name}?persistentId=doi:{quote(doi)}"), doi
        ).data

    try:
        newest = find(":latest-published") if version is None else find(version)
    except (NoAnswerError, FetchError) as error:
        if isinstance(error, NoAnswerError) and not error.definite:
            raise
        raise _no_dataset(doi, version, urlsplit(page).hostname, error) from error
    if version is None:
        fix = f"add \"version: '{newest.major}.{newest.minor}'\", the newest now"
        raise FetchError("a DOI of all versions of a dataset", where=where, expected="'version'", fix=fix)
    if newest.state == "DEACCESSIONED":
        raise FetchError(_GONE, where=f"{where}, version {version}")
    return [_dataverse_file(file, site, doi) for file in newest.files]


def _no_dataset(doi: str, version: str | None, host: str | None, error: Exception) -> FetchError:
    if version:
        what = f"{host} has no published version {version} of it"
        return FetchError(what, where=f"doi {doi}", found=error, fix=f"see https://doi.org/{doi} for its versions")
    return FetchError(
        f"{host} is no repository that datapack knows",
        where=f"doi {doi}",
        expected="a record of Zenodo, of Figshare or of a Dataverse",
        found=error if isinstance(error, NoAnswerError) else None,
        fix="name its files with 'url' or 'list'",
    )


def _dataverse_file(file: _DatasetVersion.File, site: str, doi: str) -> RecordFile:
    """Return a file as it was uploaded: a table that Dataverse changed has the checksum of the original."""
    data, name, size = file.data, file.label, file.data.filesize
    url = f"{site}/api/access/datafile/{data.id}"
    if data.is_table:
        url += "?format=original"
        name, size = data.original_name or name, data.original_size or size
    checksum = _checksum(f"{data.checksum.type}:{data.checksum.value}", doi) if data.checksum else Checksum()
    closed = "restricted" if file.restricted else ""
    if data.embargo:
        closed = f"embargoed until {data.embargo.date}"
    known = None if data.is_table and not data.original_size else size
    return RecordFile(f"{file.folder}/{name}" if file.folder else name, url, checksum, known, closed)


def _ask_for(doi: str, url: str, ask: Ask) -> Any:
    """Ask for a record; raise `FetchError` if it is not there."""
    try:
        return ask(url)
    except NoAnswerError as error:
        where = f"doi {doi}"
        if error.is_status(HTTPStatus.GONE):
            raise FetchError(_GONE, where=where, found=error) from error
        if error.is_status(HTTPStatus.NOT_FOUND):
            raise FetchError("no such record", where=where, found=error, fix=f"see https://doi.org/{doi}") from error
        raise


def _all_versions(doi: str, newest: str) -> FetchError:
    return FetchError(
        "a DOI of all versions of a record, so its files can change",
        where=f"doi {doi}",
        expected="the DOI of one version",
        fix=f"write 'doi: {newest}', the newest now",
    )


def _other(doi: str, found: str) -> FetchError:
    return FetchError("Figshare has another record", where=f"doi {doi}", found=found)


def _closed(doi: str, why: str) -> FetchError:
    fix = "ask its authors for access, and give a token with 'headers' and 'hosts'"
    return FetchError("the files are not open to everybody", where=f"doi {doi}", found=why, fix=fix)


def _checksum(text: str, doi: str) -> Checksum:
    try:
        return parse_checksum(text)
    except ValueError as error:
        raise FetchError("a checksum that datapack can't read", where=f"doi {doi}", found=text[:100]) from error


def _read(model: type[T], answer: Any, doi: str) -> T:
    try:
        return TypeAdapter(model).validate_python(answer)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        found = f"{'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}"
        raise FetchError("an answer that datapack can't read", where=f"doi {doi}", found=found) from error


def _read_all(model: type[T], answer: Any, doi: str) -> Sequence[T]:
    return _read(list[model], answer, doi)  # type: ignore[valid-type]
