"""What fetching a source needs, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datapack.catalog.patterns import Patterns
from datapack.download import Request
from datapack.urls import mirror_urls, quote_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from datapack.bag.missing import Missing
    from datapack.download import Downloader, Failure, Fetched
    from datapack.fetch.payload import Payload, WantedFile
    from datapack.progress import Reporter


@dataclass(frozen=True)
class SourceResult:
    """The files that a source could not provide. All its other files are in the payload."""

    missing: Mapping[str, Missing] = field(
        default_factory=dict
    )  # files that may be missing, by their path in the payload
    failed: Mapping[WantedFile, Failure] = field(default_factory=dict)  # files that must not be missing


@dataclass(frozen=True)
class FetchContext:
    """The payload that sources are fetched into, and what fetching needs."""

    payload: Payload
    downloader: Downloader
    catalog_folder: Path  # where local sources are
    reporter: Reporter
    excluded: Patterns = field(default_factory=lambda: Patterns(()))  # of the source that is being fetched
    into: str = ""  # the source's folder in the payload

    def excludes(self, file: WantedFile) -> bool:
        """Whether the source's ``exclude`` leaves a file out."""
        return self.excluded.match(file.path.removeprefix(f"{self.into}/"))

    def download(
        self, wanted: Sequence[WantedFile], label: str, mirrors: Mapping[str, Sequence[str]] | None = None
    ) -> dict[WantedFile, Failure]:
        """Download files from their URLs, or from mirrors; return the files that could not be downloaded, and why.

        Complete files that are already in the payload, from the same URL, are not downloaded again.

        Raises:
            FetchError: two files have one name, or the disk failed.
        """
        payload, wanted = self.payload, [file for file in wanted if not self.excludes(file)]
        payload.keep(payload.claim(wanted))
        by_path = {payload.folder / file.path: file for file in wanted if not payload.has(file.path)}
        requests = [
            Request(mirror_urls(quote_url(file.url), mirrors or {}), path, file.sha256, file.pixels)
            for path, file in by_path.items()
        ]

        def arrived(fetched: Fetched) -> None:
            payload.add(by_path[fetched.request.path], fetched.sha256, fetched.stat)

        failures = self.downloader.fetch(requests, label, arrived)
        return {by_path[failure.request.path]: failure for failure in failures}
