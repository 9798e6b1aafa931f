"""What fetching a source needs, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from datapack.catalog.patterns import Patterns
from datapack.download import Request
from datapack.download.secret_headers import NO_HEADERS
from datapack.urls import host_of, mirror_urls, quote_url, strip_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.bag.missing import Missing
    from datapack.bag.model_facts import ModelFacts
    from datapack.catalog.model import Entry
    from datapack.catalog.sources import Source
    from datapack.download import Downloader, Failure, Fetched
    from datapack.download.secret_headers import SecretHeaders
    from datapack.fetch.payload import Payload, WantedFile
    from datapack.progress import Reporter
    from datapack.reference import Reference


@dataclass(frozen=True)
class SourceResult:
    """The files that a source could not provide. All its other files are in the payload."""

    missing: Mapping[str, Missing] = field(
        default_factory=dict
    )  # files that may be missing, by their path in the payload
    failed: Mapping[WantedFile, Failure] = field(default_factory=dict)  # files that must not be missing
    hint: str = ""  # what to do about those that a server refuses
    # Files of the payload that others were made of, by their path, and whether they stay in it.
    used: Mapping[str, bool] = field(default_factory=dict)
    model: ModelFacts | None = None  # what its weights are, if it knows


@dataclass(frozen=True)
class Origin:
    """A version that others are derived from: its entry in the catalog, and its bag."""

    entry: Entry
    bag: Bag


@dataclass(frozen=True)
class FetchContext:
    """The payload that sources are fetched into, and what fetching needs."""

    payload: Payload
    downloader: Downloader
    catalog_folder: Path  # where local sources are
    reporter: Reporter
    excluded: Patterns = field(default_factory=lambda: Patterns(()))  # of the source that is being fetched
    into: str = ""  # the source's folder in the payload
    named: frozenset[str] = frozenset()  # hosts that the catalog names, which may be private
    origins: Mapping[Reference, Origin] = field(default_factory=dict)  # the versions that derived sources read
    headers: Callable[[], SecretHeaders] = lambda: NO_HEADERS  # of the source; read once something is to be fetched

    def excludes(self, file: WantedFile) -> bool:
        """Whether the source's ``exclude`` leaves a file out."""
        return self.excluded.match(file.path.removeprefix(f"{self.into}/"))

    def download(
        self, wanted: Iterable[WantedFile], label: str, mirrors: Mapping[str, Sequence[str]] | None = None
    ) -> dict[WantedFile, Failure]:
        """Download files from their URLs, or from mirrors; return the files that could not be downloaded, and why.

        Complete files that are already in the payload, from the same URL, are not downloaded again. A signature in a
        URL is used for its request, and is in nothing that is recorded or returned.

        Raises:
            FetchError: two files have one name, or the disk failed.
        """
        payload = self.payload
        chosen = [file for file in wanted if not self.excludes(file)]
        recorded = [_without_signature(file) for file in chosen]
        self._note_signatures(chosen, recorded, label)
        payload.keep(payload.claim(recorded))
        numbers = [number for number, file in enumerate(recorded) if not payload.has(file.path)]
        recorded = [recorded[number] for number in numbers]
        if not recorded:
            return {}
        to_fetch = [chosen[number] for number in numbers]
        requests = _Requests(to_fetch, payload.folder, mirrors or {}, self.headers())
        del chosen, numbers, to_fetch

        def arrived(fetched: Fetched) -> None:
            payload.add(recorded[fetched.number], fetched.sha256, fetched.stat)

        failures = self.downloader.fetch(requests, label, arrived, self.named)
        return {recorded[failure.number]: failure for failure in failures}

    def _note_signatures(self, chosen: Sequence[WantedFile], recorded: Sequence[WantedFile], label: str) -> None:
        signed = sum(file is not other for file, other in zip(chosen, recorded, strict=True))
        if signed:
            urls = "the URL has a signature" if len(chosen) == 1 else f"{signed:,} URLs have a signature"
            self.reporter.note(f"{label}: {urls}; it is used for the request, but recorded nowhere")


def named_hosts(sources: Iterable[Source]) -> frozenset[str]:
    """Return the hosts that the catalog itself names, as `host_of` writes them; lists of images may name others."""
    urls: list[str] = []
    for source in sources:
        urls += [f"{scheme}://{host}" for host in source.named_hosts for scheme in ("http", "https")]
        urls += source.named_urls
    return frozenset(map(host_of, urls))


def _without_signature(file: WantedFile) -> WantedFile:
    url = strip_signature(file.url)
    return file if url == file.url else replace(file, url=url)


@dataclass(frozen=True)
class _Requests:
    """The requests for files, each made when it is needed: there may be hundreds of thousands."""

    files: Sequence[WantedFile]
    folder: Path
    mirrors: Mapping[str, Sequence[str]]
    headers: SecretHeaders

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Request:
        file = self.files[number]
        urls = mirror_urls(quote_url(file.url), self.mirrors)
        return Request(urls, self.folder / file.path, file.checksum, file.pixels, file.size, self.headers)
