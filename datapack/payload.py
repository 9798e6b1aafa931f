"""The payload of a bag while its sources fill it: every file from exactly one source, whole, and nothing else.

While it is filled, ``fetch.txt`` is there for what RFC 8493 means it for: it says where the files that are not here yet
come from. So a file that an earlier run left counts only if it came from where it would come from now.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag import FETCH
from datapack.claims import Claims
from datapack.disk import disk_errors
from datapack.download import Request
from datapack.download.address import mirrored, quote_address, shown
from datapack.download.content import WrongContentError, check_content
from datapack.errors import FetchError
from datapack.files import TEMPORARY_PREFIX, atomic_writer
from datapack.manifest import PAYLOAD, FileStat, hash_files, list_payload, sorted_by_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datapack.download import Downloader, Failure, Fetched
    from datapack.hashcache import HashCache, KnownFile
    from datapack.reference import Reference
    from datapack.report import Reporter

MISSING = "missing.csv"  # in the payload: what the catalog allows to be missing, and is
_REASONS = 3  # how many an error names, each with an example


@dataclass(frozen=True)
class Wanted:
    """A file that a source is to bring: its path in the payload, and what is known of it before it is there."""

    path: str
    named_by: str  # the source, or the row of its list, for people
    origin: str = ""  # its address as the source names it; empty for what is not fetched
    sha256: str = ""  # what its hash must begin with
    pixels: tuple[int, int] | None = None  # width and height of an image


class Missing(NamedTuple):
    """A file that is missing, as the catalog allows."""

    address: str
    reason: str


@dataclass
class Payload:
    """The payload folder of a bag, and what is known of its files so far."""

    reference: Reference
    bag: Path  # the folder that holds data/
    catalog_folder: Path  # where local sources are looked up
    cache: HashCache
    downloader: Downloader
    reporter: Reporter
    failures: Path  # the report of what could not be fetched
    hashes: dict[str, str] = field(default_factory=dict)  # sha256 of every file, by its path below the bag
    origins: dict[str, str] = field(default_factory=dict)  # address of every fetched file, likewise
    missing: dict[str, Missing] = field(default_factory=dict)  # by the path in the payload
    failed: dict[Wanted, Failure] = field(default_factory=dict)  # what could not be fetched and must not be missing
    _claims: Claims = field(default_factory=Claims)
    _planned: dict[str, str] = field(default_factory=dict)  # what fetch.txt says
    _known: dict[str, KnownFile] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.bag / PAYLOAD

    def begin(self) -> None:
        """Make the folder, and remove what a killed run left half-made in it."""
        with disk_errors(self.bag):
            self.folder.mkdir(parents=True, exist_ok=True)
            _remove_temporaries(self.bag)
            self._planned = _read_origins(self.bag / FETCH)
        self._known = self.cache.files(self.reference)

    def plan(self, wanted: Sequence[Wanted]) -> dict[Wanted, FileStat]:
        """Note the files that a source will bring; return those that an earlier run brought from the same place.

        Whatever else stands in their places is removed.

        Raises:
            FetchError: another source, or another row of the same list, names one of them too.
            ManifestError: a payload can't have a file of that name.
        """
        for file in wanted:
            self._claims.add(file.path, file.named_by)
        with disk_errors(self.folder):
            self._remove_links(wanted)
            found = {file: stat for file in wanted if (stat := self._standing(file))}
            self._write_plan(wanted)
        return found

    def _remove_links(self, wanted: Sequence[Wanted]) -> None:
        """Remove links where folders should be: a file below one would be outside the payload."""
        folders = {folder for file in wanted for folder in PurePosixPath(file.path).parents}
        for folder in sorted(folders - {PurePosixPath()}):
            if (self.folder / folder).is_symlink():
                (self.folder / folder).unlink()

    def _standing(self, file: Wanted) -> FileStat | None:
        path = self.folder / file.path
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            next(folder for folder in path.parents if os.path.lexists(folder) and not folder.is_dir()).unlink()
            return None
        if S_ISREG(found.st_mode) and self._planned.get(file.path, "") == quote_address(file.origin):
            return FileStat.of(found)
        _remove(path)
        return None

    def _write_plan(self, wanted: Sequence[Wanted]) -> None:
        planned = dict(self._planned)
        for file in wanted:
            planned.pop(file.path, None)
            if file.origin:
                planned[file.path] = quote_address(file.origin)
        if planned != self._planned:
            with atomic_writer(self.bag / FETCH) as out:
                out.writelines(_origin_line(planned[path], path) for path in sorted_by_bytes(planned))
        self._planned = planned

    def keep(self, standing: Mapping[Wanted, FileStat]) -> None:
        """Take files that are there as they are if they are whole; remove the others.

        A file is whole if it is as it was when it was hashed, or else if it passes the checks of a file that arrives.
        """
        unknown = []
        for file, stat in standing.items():
            known = self._known.get(f"{PAYLOAD}/{file.path}")
            if known is None or known.stat != stat:
                unknown.append(file)
            elif known.sha256.startswith(file.sha256):
                self._take(file, known.sha256)
        with disk_errors(self.folder):
            if unknown:
                self._check({file: standing[file] for file in unknown})
            for file in standing:
                if not self.has(file):
                    _remove(self.folder / file.path)

    def _check(self, standing: Mapping[Wanted, FileStat]) -> None:
        hashed = hash_files(self.folder, (file.path for file in standing))
        with self.reporter.progress("checking what is there", len(standing), "files") as advance:
            for (file, stat), (_, digest) in zip(standing.items(), hashed, strict=True):
                if digest.startswith(file.sha256) and self._is_sound(file):
                    self.add(file, digest, stat)
                advance(1)

    def _is_sound(self, file: Wanted) -> bool:
        if not file.origin:
            return True
        try:
            with (self.folder / file.path).open("rb") as opened:
                check_content(opened, file.path, file.pixels)
        except WrongContentError:
            return False
        return True

    def has(self, file: Wanted) -> bool:
        """Whether a file is there and whole."""
        return f"{PAYLOAD}/{file.path}" in self.hashes

    def add(self, file: Wanted, sha256: str, stat: FileStat) -> None:
        """Take a file that has just got its name."""
        self.cache.record(self.reference, f"{PAYLOAD}/{file.path}", stat, sha256)
        self._take(file, sha256)

    def _take(self, file: Wanted, sha256: str) -> None:
        self.hashes[f"{PAYLOAD}/{file.path}"] = sha256
        if file.origin:
            self.origins[f"{PAYLOAD}/{file.path}"] = quote_address(file.origin)

    def fetch(
        self, wanted: Sequence[Wanted], label: str, mirrors: Mapping[str, Sequence[str]] | None = None
    ) -> dict[Wanted, Failure]:
        """Fetch files from their origins, or from mirrors of these; return what could not be had, and why.

        Raises:
            FetchError: two files have one name, or the disk failed.
        """
        self.keep(self.plan(wanted))
        by_path = {self.folder / file.path: file for file in wanted if not self.has(file)}
        requests = [
            Request(mirrored(quote_address(file.origin), mirrors or {}), path, file.sha256, file.pixels)
            for path, file in by_path.items()
        ]

        def arrived(fetched: Fetched) -> None:
            self.add(by_path[fetched.request.path], fetched.sha256, fetched.stat)

        failures = self.downloader.fetch(requests, label, arrived)
        return {by_path[failure.request.path]: failure for failure in failures}

    def finish(self) -> None:
        """End the filling: nothing failed, and no file stands in the payload that no source names.

        Raises:
            FetchError: files could not be fetched. All about them stands in `failures`.
        """
        self.check_failures()
        with disk_errors(self.folder):
            self.failures.unlink(missing_ok=True)
            self._write_missing()
            self._remove_unnamed()

    def check_failures(self) -> None:
        """Raise `FetchError` if a file could not be fetched, and write all about such files into `failures`."""
        if not self.failed:
            return
        with disk_errors(self.failures), atomic_writer(self.failures) as out:
            out.write(_failures_report(self.reference, self.failed))
        reasons = Counter(failure.reason for failure in self.failed.values())
        examples = {failure.reason: shown(file.origin) for file, failure in reversed(self.failed.items())}
        total = len(self.origins) + len(self.missing) + len(self.failed)
        raise FetchError(
            f"{len(self.failed):,} of {total:,} files could not be fetched",
            where=self.reference,
            found="; ".join(f"{n:,} x {why}, such as {examples[why]}" for why, n in reasons.most_common(_REASONS)),
            fix=f"all are listed in {self.failures}; the same command again asks for these alone",
        )

    def _write_missing(self) -> None:
        if not self.missing:
            return
        file = Wanted(MISSING, "the list of missing files")
        self._claims.add(file.path, file.named_by)
        rows = ((path, *self.missing[path]) for path in sorted_by_bytes(self.missing))
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([("path", "url", "reason"), *rows])
        path, content = self.folder / MISSING, text.getvalue().encode()
        if not path.is_file() or path.read_bytes() != content:
            with atomic_writer(path) as out:
                out.write(content)
        ((_, digest),) = hash_files(self.folder, [MISSING], workers=1)
        self.add(file, digest, FileStat.of(path.stat()))

    def _remove_unnamed(self) -> None:
        listing = list_payload(self.bag)
        unnamed = sorted_by_bytes((listing.files.keys() | listing.irregular) - self.hashes.keys())
        for path in unnamed:
            (self.bag / path).unlink()
        for folder, _, _ in os.walk(self.folder, topdown=False):
            if Path(folder) != self.folder:
                with suppress(OSError):  # a folder that holds something stays
                    Path(folder).rmdir()
        if unnamed:
            others = f" and {len(unnamed) - 1:,} more" if len(unnamed) > 1 else ""
            self.reporter.note(f"removed what no source names: {unnamed[0]}{others}")


def _remove_temporaries(bag: Path) -> None:
    for folder, folders, files in os.walk(bag):
        for name in (*folders, *files):
            if name.startswith(TEMPORARY_PREFIX):
                _remove(Path(folder, name))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _origin_line(address: str, path: str) -> bytes:
    """Write a line of ``fetch.txt`` (RFC 8493, 2.2.3) for a file whose length is not known yet."""
    return f"{address} - {PAYLOAD}/{path.replace('%', '%25')}\n".encode()


def _read_origins(path: Path) -> dict[str, str]:
    """Read the addresses in a ``fetch.txt``; a line that makes no sense only costs its file a second fetch."""
    with suppress(FileNotFoundError):
        lines = [line.split(" ", 2) for line in path.read_text("utf-8", "replace").split("\n")]
        files = {line[2].replace("%25", "%"): line[0] for line in lines if len(line) == 3}  # noqa: PLR2004 - URL LENGTH PATH
        return {path.removeprefix(f"{PAYLOAD}/"): address for path, address in files.items()}
    return {}


def _failures_report(reference: Reference, failed: Mapping[Wanted, Failure]) -> bytes:
    report = [
        {
            "path": file.path,
            "url": shown(file.origin),
            "answers": [
                {"address": answer.address, "reason": answer.reason, "tries": answer.tries}
                for answer in failure.answers
            ],
        }
        for file, failure in failed.items()
    ]
    return (json.dumps({"reference": str(reference), "failures": report}, indent=2, ensure_ascii=False) + "\n").encode()
