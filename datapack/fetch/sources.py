"""Fetch the sources of a version, in order, into one payload. Each kind of source has its own module."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from datapack.bag.missing import MISSING, parse_missing
from datapack.catalog.patterns import Patterns
from datapack.catalog.sources import (
    CocoSource,
    DoiSource,
    HuggingFaceSource,
    KaggleSource,
    ListSource,
    LocalSource,
    RunSource,
    SplitSource,
    StorageSource,
    SubsetSource,
    UnpackSource,
    UrlSource,
)
from datapack.errors import FetchError
from datapack.fetch.context import named_hosts
from datapack.fetch.failures import report_failures
from datapack.fetch.headers import is_refused, login_hint, read_headers
from datapack.fetch.kinds.coco import fetch_coco
from datapack.fetch.kinds.doi import fetch_doi
from datapack.fetch.kinds.huggingface import fetch_huggingface
from datapack.fetch.kinds.kaggle import fetch_kaggle
from datapack.fetch.kinds.local import fetch_local, find_local
from datapack.fetch.kinds.run import fetch_run
from datapack.fetch.kinds.storage import fetch_storage
from datapack.fetch.kinds.unpack import fetch_unpack
from datapack.fetch.kinds.url import fetch_url
from datapack.fetch.kinds.url_list import fetch_list
from datapack.fetch.names import check_name
from datapack.fetch.payload import payload_path
from datapack.files import read_limited
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from datapack.bag.missing import Missing
    from datapack.catalog.sources import AnySource, Source
    from datapack.download import Failure
    from datapack.fetch.context import FetchContext, SourceResult
    from datapack.fetch.models.write import ModelFiles
    from datapack.fetch.payload import Contents, Payload, WantedFile

_LARGEST_LIST = 64 << 20  # bytes of missing.csv


def _fetch_split(source: SplitSource, context: FetchContext) -> SourceResult:
    from datapack.fetch.kinds.split import fetch_split  # here: others need no numpy

    return fetch_split(source, context)


def _fetch_subset(source: SubsetSource, context: FetchContext) -> SourceResult:
    from datapack.fetch.kinds.subset import fetch_subset  # here: others need no numpy

    return fetch_subset(source, context)


_FETCH: Mapping[type[Source], Callable[[Any, FetchContext], SourceResult]] = {
    CocoSource: fetch_coco,
    DoiSource: fetch_doi,
    HuggingFaceSource: fetch_huggingface,
    KaggleSource: fetch_kaggle,
    ListSource: fetch_list,
    LocalSource: fetch_local,
    RunSource: fetch_run,
    SplitSource: _fetch_split,
    StorageSource: fetch_storage,
    SubsetSource: _fetch_subset,
    UnpackSource: fetch_unpack,
    UrlSource: fetch_url,
}
# The names of a source's files, where they are known before anything is fetched.
_NAMES: Mapping[type[Source], Callable[[Any, FetchContext], Iterable[str]]] = {
    KaggleSource: lambda source, context: source.files,
    LocalSource: lambda source, context: (name for name, _ in find_local(source, context)),
    UrlSource: lambda source, context: (source.file_name,),
}


def fetch_sources(
    sources: Sequence[AnySource], context: FetchContext, failures: Path, model: ModelFiles | None = None
) -> Contents:
    """Fetch every source in order; return the contents of the complete payload.

    Args:
        sources: the sources of the version.
        context: the payload and what fetching needs; complete files in the payload are not fetched again.
        failures: the path of the report of failed downloads.
        model: what the version gets beside its sources, if it is a model.

    Raises:
        FetchError: a source could not provide a file, or two sources provide the same one; or the model does not fit
            what is said about it. Complete files are kept for the next run.
    """
    context = replace(context, named=named_hosts(sources))
    payload = context.payload
    missing: dict[str, Missing] = {}
    failed: dict[WantedFile, Failure] = {}
    hints: dict[str, None] = {}  # an ordered set
    used: dict[str, bool] = {}

    def check_failures() -> None:
        total = payload.downloaded + len(missing) + len(failed)
        report_failures(payload.reference, failed, total, failures, tuple(hints))

    _check_names(sources, context)
    _note_outside(sources, context)
    if not payload.folder.exists():  # with files of an earlier run, perhaps nothing needs a login
        for source in sources:
            read_headers(source)
    payload.begin()
    if model:
        model.claim(payload)
    recorded = None
    for source in sources:
        if source.reads is not None and not payload.has(source.reads):
            check_failures()
            raise FetchError(
                "no such file in the payload",
                where=source.label,
                fix="list the source that provides it before the one that reads it",
            )
        result = _fetch(source, context)
        recorded = result.model or recorded
        missing.update(result.missing)
        failed.update(result.failed)
        if is_refused(result.failed.values()) and (hint := result.hint or login_hint(source)):
            hints[hint] = None
        used.update({path: keep or used.get(path, False) for path, keep in result.used.items()})
    check_failures()
    payload.drop(path for path, keep in used.items() if not keep)
    _note_given_missing(payload, context)
    payload.add_missing(missing)
    if model:
        model.write(payload, recorded)
    return payload.finish()


def _note_given_missing(payload: Payload, context: FetchContext) -> None:
    """Say that a source brought a list of missing files: checks and trainers do without the files that it names."""
    try:
        content = read_limited(payload.folder / MISSING, _LARGEST_LIST, FetchError) if payload.has(MISSING) else b""
        given = parse_missing(content)
    except (FetchError, ValueError):  # another table
        return
    if given:
        context.reporter.note(
            f"{MISSING} is from a source: 'datapack check' and the trainers do without {counted(len(given), 'file')} "
            "that it names as missing; if you do not want that, leave it out with 'exclude:'"
        )


def _note_outside(sources: Sequence[AnySource], context: FetchContext) -> None:
    """Say that nobody else can fetch the version from these sources."""
    outside = [source.label for source in sources if isinstance(source, LocalSource | RunSource) and source.is_outside]
    if outside:
        context.reporter.note(
            f"{', '.join(outside)}: outside the catalog's folder, so others can't rebuild the version from there; "
            "--push-data gives them the bag"
        )


def _fetch(source: AnySource, context: FetchContext) -> SourceResult:
    """Fetch a source without the files that it excludes; say so if it excludes nothing, or everything."""
    excluded, before = Patterns(source.exclude), len(context.payload.hashes)
    chosen = replace(context, excluded=excluded, into=source.into, headers=partial(read_headers, source))
    result = _FETCH[type(source)](source, chosen)
    if unused := sorted(excluded.unused):
        context.reporter.note(f"{source.label}: the pattern {unused[0]!r} in 'exclude' matches no file")
    if source.exclude and len(context.payload.hashes) == before and not result.missing and not result.failed:
        raise FetchError("'exclude' leaves out every file", where=source.label)
    return result


def _check_names(sources: Sequence[AnySource], context: FetchContext) -> None:
    """Refuse names that DVC can't keep before anything is fetched, as far as they are known now.

    The only source claims all its files before it fetches the first.
    """
    for source in sources if len(sources) > 1 else ():
        chosen = replace(context, excluded=Patterns(source.exclude), into=source.into)
        names = _NAMES.get(type(source))
        for name in names(source, chosen) if names else ():
            if not chosen.excluded.match(name):
                check_name(payload_path(source.into, name), where=source.label)
