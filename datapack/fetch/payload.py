"""The payload of a bag while its sources are fetched: complete files, each from exactly one source, and nothing else.

Until the payload is complete, ``fetch.txt`` has its purpose in RFC 8493: it has the URLs of the files that are not here
yet. So a file of an earlier run is used only if its URL is still the same.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import TYPE_CHECKING

from datapack.bag.fetch_txt import FETCH, format_fetch, read_fetch
from datapack.bag.listing import Listing, is_folder, list_payload
from datapack.bag.manifest import PAYLOAD, sorted_by_bytes
from datapack.bag.missing import MISSING, Missing, format_missing
from datapack.download.content import WrongContentError, check_content
from datapack.fetch.claims import Claims
from datapack.files import TEMPORARY_PREFIX, FileStat, atomic_writer, disk_errors
from datapack.hashing import hash_bytes, hash_files
from datapack.urls import quote_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.cache import HashCache, KnownFile

_WHOLE = 64  # digits of a sha256


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file that a source should provide: its path in the payload, and what is known about it."""

    path: str
    named_by: str  # the source, or the row of its COCO file, for errors
    url: str = ""  # as the source names it; empty for a file that is not downloaded
    sha256: str = ""  # what its hash must begin with
    pixels: tuple[int, int] | None = None  # width and height of an image

    @property
    def bag_path(self) -> str:
        """Its path below the bag."""
        return f"{PAYLOAD}/{self.path}"

    @property
    def is_pinned(self) -> bool:
        """Whether its whole hash is known, which then decides alone what the file is."""
        return len(self.sha256) == _WHOLE


def payload_path(folder: str, name: str) -> str:
    """Return the path of a file in a folder of the payload, which `Payload.claim` checks."""
    return f"{folder}/{name}" if folder else name


def remove_payload_link(bag: Path) -> None:
    """Remove the payload folder if it is a link or a file: what is below a link is outside the bag."""
    folder = bag / PAYLOAD
    if os.path.lexists(folder) and not is_folder(folder):
        folder.unlink()


@dataclass
class Payload:
    """The payload folder of a bag, and what is known about its files so far."""

    reference: Reference
    bag: Path  # the folder that holds data/
    cache: HashCache
    reporter: Reporter
    hashes: dict[str, str] = field(default_factory=dict)  # sha256 by path below the bag
    urls: dict[str, str] = field(default_factory=dict)  # URL of every downloaded file, by path below the bag
    claims: Claims = field(default_factory=Claims)
    _planned: dict[str, str] = field(default_factory=dict)  # what fetch.txt says
    _known: dict[str, KnownFile] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.bag / PAYLOAD

    def begin(self) -> None:
        """Create the folder, or remove the temporary files of a killed run from it."""
        with disk_errors(self.bag):
            remove_payload_link(self.bag)
            if self.folder.exists():
                _remove_temporaries(self.bag)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._planned = read_fetch(self.bag / FETCH)
        self._known = self.cache.files(self.reference)

    def claim(self, wanted: Sequence[WantedFile]) -> dict[WantedFile, FileStat]:
        """Claim the paths of a source's files; return the files that an earlier run fetched from the same URL.

        Anything else at these paths is removed.

        Raises:
            FetchError: another source, or another row of the same file, claims one of them too.
            ManifestError: a name is not allowed in a payload.
        """
        for file in wanted:
            self.claims.add(file.path, file.named_by)
        with disk_errors(self.folder):
            self._remove_links(wanted)
            present = {file: stat for file in wanted if (stat := self._find_present(file))}
            self._write_plan(wanted)
        return present

    def _remove_links(self, wanted: Sequence[WantedFile]) -> None:
        """Remove links where folders should be: files below a link would be outside the payload."""
        for folder in sorted(_folders(file.path for file in wanted) - {PurePosixPath()}):
            if (self.folder / folder).is_symlink():
                (self.folder / folder).unlink()

    def _find_present(self, file: WantedFile) -> FileStat | None:
        path = self.folder / file.path
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            next(folder for folder in path.parents if os.path.lexists(folder) and not folder.is_dir()).unlink()
            return None
        if S_ISREG(found.st_mode) and self._planned.get(file.bag_path, "") == quote_url(file.url):
            return FileStat.of(found)
        _remove(path)
        return None

    def _write_plan(self, wanted: Sequence[WantedFile]) -> None:
        planned = dict(self._planned)
        for file in wanted:
            planned.pop(file.bag_path, None)
            if file.url:
                planned[file.bag_path] = quote_url(file.url)
        if planned != self._planned:
            with atomic_writer(self.bag / FETCH) as out:
                out.write(format_fetch(planned, {}))
        self._planned = planned

    def keep(self, present: Mapping[WantedFile, FileStat]) -> None:
        """Keep the files that are complete; remove the others.

        A file is complete if it did not change since it was hashed, or else if it passes the checks of a new download.
        """
        unknown = []
        for file, stat in present.items():
            known = self._known.get(file.bag_path)
            if known is None or known.stat != stat:
                unknown.append(file)
            elif known.sha256.startswith(file.sha256):
                self._take(file, known.sha256)
        with disk_errors(self.folder):
            if unknown:
                self._check({file: present[file] for file in unknown})
            for file in present:
                if not self.has(file.path):
                    _remove(self.folder / file.path)

    def _check(self, present: Mapping[WantedFile, FileStat]) -> None:
        hashed = hash_files(self.folder, (file.path for file in present))
        with self.reporter.progress("checking existing files", len(present), "files") as advance:
            for (file, stat), (_, digest) in zip(present.items(), hashed, strict=True):
                if digest.startswith(file.sha256) and self._is_sound(file):
                    self.add(file, digest, stat)
                advance(1)

    def _is_sound(self, file: WantedFile) -> bool:
        if not file.url or file.is_pinned:
            return True
        try:
            with (self.folder / file.path).open("rb") as opened:
                check_content(opened, file.path, file.pixels)
        except WrongContentError:
            return False
        return True

    def has(self, path: str) -> bool:
        """Whether the payload has a complete file at this path."""
        return f"{PAYLOAD}/{path}" in self.hashes

    def add(self, file: WantedFile, sha256: str, stat: FileStat) -> None:
        """Add a file that is complete under its final name."""
        self.cache.record(self.reference, file.bag_path, stat, sha256)
        self._take(file, sha256)

    def _take(self, file: WantedFile, sha256: str) -> None:
        path = file.bag_path
        self.hashes[path] = sha256
        if file.url:
            self.urls[path] = quote_url(file.url)

    def add_missing(self, missing: Mapping[str, Missing]) -> None:
        """Write ``missing.csv`` for these files, by their paths in the payload, if there are any."""
        if not missing:
            return
        file, content = WantedFile(MISSING, "the list of missing files"), format_missing(missing)
        self.claims.add(file.path, file.named_by)
        path = self.folder / MISSING
        with disk_errors(self.folder):
            if not path.is_file() or path.read_bytes() != content:
                with atomic_writer(path) as out:
                    out.write(content)
            self.add(file, hash_bytes(content), FileStat.of(path.stat()))

    def finish(self) -> Listing:
        """Remove files that no source named, and empty folders; return the listing of the files."""
        with disk_errors(self.folder):
            listing = list_payload(self.bag)
            unnamed = sorted_by_bytes((listing.files.keys() | listing.irregular) - self.hashes.keys())
            for path in unnamed:
                (self.bag / path).unlink()
            needed = set(map(str, _folders(self.hashes)))
            for empty in sorted(listing.folders - needed - {PAYLOAD}, reverse=True):
                (self.bag / empty).rmdir()
        if unnamed:
            others = f" and {len(unnamed) - 1:,} more" if len(unnamed) > 1 else ""
            self.reporter.note(f"removed files that are in no source: {unnamed[0]}{others}")
        files = listing.files
        if unnamed:
            files = {path: stat for path, stat in files.items() if path in self.hashes}
        return Listing(files, frozenset(), frozenset(needed & listing.folders))


def _folders(paths: Iterable[str]) -> set[PurePosixPath]:
    """Return every folder that these files are in; there are far fewer folders than files."""
    nearest = map(PurePosixPath, {path.rpartition("/")[0] for path in paths})
    return {folder for each in nearest for folder in (each, *each.parents)}


def _remove_temporaries(bag: Path) -> None:
    for folder, folders, files in os.walk(bag):
        for name in (*folders, *files):
            if name.startswith(TEMPORARY_PREFIX):
                _remove(Path(folder, name))


def _remove(path: Path) -> None:
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()
