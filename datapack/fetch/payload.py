"""The payload of a bag while its sources are fetched: complete files, each from exactly one source, and nothing else.

Until the payload is complete, ``fetch.txt`` has its purpose in RFC 8493: it has the URLs of the files that are not here
yet. So a file of an earlier run is used only if its URL is still the same.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from datapack.bag.fetch_txt import FETCH, fetch_lines, read_fetch
from datapack.bag.listing import Listing, is_folder, list_payload
from datapack.bag.manifest import PAYLOAD, Manifest, sorted_by_bytes
from datapack.bag.missing import MISSING, Missing, format_missing
from datapack.download.content import WrongContentError, check_content
from datapack.fetch.claims import Claims
from datapack.files import TEMPORARY_PREFIX, FileStat, atomic_writer, disk_errors
from datapack.hashing import Checksum, hash_bytes, hash_files
from datapack.text import counted
from datapack.urls import quote_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.workspace.cache import HashCache

_UNKNOWN = Checksum()
_BATCH = 4096  # files that are checked at a time


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file that a source should provide: its path in the payload, and what is known about it."""

    path: str
    named_by: str  # the source, or the row of its COCO file, for errors
    url: str = ""  # as the source names it; empty for a file that is not downloaded
    checksum: Checksum = _UNKNOWN
    pixels: tuple[int, int] | None = None  # width and height of an image
    size: int | None = None  # in bytes

    @property
    def bag_path(self) -> str:
        """Its path below the bag."""
        return _below_bag(self.path)

    @property
    def is_pinned(self) -> bool:
        """Whether its whole hash is known, which then decides alone what the file is."""
        return self.checksum.is_whole


def payload_path(folder: str, name: str) -> str:
    """Return the path of a file in a folder of the payload, which `Payload.claim` checks."""
    return f"{folder}/{name}" if folder else name


def _below_bag(path: str) -> str:
    return f"{PAYLOAD}/{path}"


def _in_payload(bag_path: str) -> str:
    return bag_path[len(PAYLOAD) + 1 :]


def remove_payload_link(bag: Path) -> None:
    """Remove the payload folder if it is a link or a file: what is below a link is outside the bag."""
    folder = bag / PAYLOAD
    if os.path.lexists(folder) and not is_folder(folder):
        folder.unlink()


class Contents(NamedTuple):
    """A complete payload: its files, and the URLs of those that were downloaded, by their paths below the bag."""

    manifest: Manifest
    listing: Listing
    urls: Mapping[str, str]


@dataclass
class Payload:
    """The payload folder of a bag, and what is known about its files so far, by their paths below that folder.

    There may be hundreds of thousands of files, so all mappings share the texts of their `WantedFile`.
    """

    reference: Reference
    bag: Path  # the folder that holds data/
    cache: HashCache
    reporter: Reporter
    claims: Claims = field(default_factory=Claims)
    hashes: dict[str, str] = field(default_factory=dict)  # sha256 of each complete file
    _urls: dict[str, str] = field(default_factory=dict)  # what fetch.txt says: the URLs of complete and wanted files

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
            self._urls = {_in_payload(path): url for path, url in read_fetch(self.bag / FETCH).items()}

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
        if S_ISREG(found.st_mode) and self._urls.get(file.path, "") == quote_url(file.url):
            return FileStat.of(found)
        _remove(path)
        return None

    def _write_plan(self, wanted: Sequence[WantedFile]) -> None:
        changed = False
        for file in wanted:
            url = quote_url(file.url)
            changed |= self._urls.pop(file.path, "") != url
            if url:
                self._urls[file.path] = url
        if changed:
            with atomic_writer(self.bag / FETCH) as out:
                out.writelines(fetch_lines({_below_bag(path): url for path, url in self._urls.items()}, {}))

    def keep(self, present: Mapping[WantedFile, FileStat]) -> None:
        """Keep the files that are complete; remove the others.

        A file is complete if it did not change since it was hashed, or else if it passes the checks of a new download.
        """
        unknown = {file.bag_path: file for file in present}
        for path, known in self.cache.find(self.reference, list(unknown)):
            if known.stat == present[unknown[path]] and unknown[path].checksum.algorithm == "sha256":
                file = unknown.pop(path)
                if file.checksum.fits(known.sha256) and file.size in {None, known.stat.size}:
                    self.hashes[file.path] = known.sha256
        to_check = list(unknown.values())
        del unknown  # its paths would take much memory
        with disk_errors(self.folder):
            if to_check:
                self._check(to_check, present)
            for file in present:
                if not self.has(file.path):
                    _remove(self.folder / file.path)

    def _check(self, to_check: Sequence[WantedFile], present: Mapping[WantedFile, FileStat]) -> None:
        """Keep the files that pass the checks of a new download. Only a sha256 is remembered, no other checksum is."""
        waiting = iter(to_check)
        with self.reporter.progress("checking existing files", len(to_check), "files") as advance:
            while batch := list(islice(waiting, _BATCH)):
                files = [file for file in batch if file.size in {None, present[file].size} and self._is_sound(file)]
                for algorithm in {file.checksum.algorithm for file in files} - {"sha256"}:
                    files = self._without_wrong(files, algorithm)
                hashed = hash_files(self.folder, (file.path for file in files))
                for file, (_, digest) in zip(files, hashed, strict=True):
                    if file.checksum.algorithm != "sha256" or file.checksum.fits(digest):
                        self.add(file, digest, present[file])
                advance(len(batch))

    def _without_wrong(self, files: Sequence[WantedFile], algorithm: str) -> list[WantedFile]:
        """Leave out the files that have a checksum of this algorithm, but the wrong one."""
        checked = {file.path: file.checksum for file in files if file.checksum.algorithm == algorithm}
        hashed = hash_files(self.folder, checked, algorithm=algorithm)
        wrong = {path for path, digest in hashed if not checked[path].fits(digest)}
        return [file for file in files if file.path not in wrong]

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
        return path in self.hashes

    @property
    def downloaded(self) -> int:
        """The number of complete files that have a URL."""
        return sum(path in self._urls for path in self.hashes)

    def add(self, file: WantedFile, sha256: str, stat: FileStat) -> None:
        """Add a file that is complete under its final name."""
        self.cache.record(self.reference, file.bag_path, stat, sha256)
        self.hashes[file.path] = sha256

    def drop(self, paths: Iterable[str]) -> None:
        """Remove complete files that were needed only to make others."""
        with disk_errors(self.folder):
            for path in paths:
                (self.folder / path).unlink()
                del self.hashes[path]

    def add_missing(self, missing: Mapping[str, Missing]) -> None:
        """Write ``missing.csv`` for these files, by their paths in the payload, if there are any."""
        if not missing:
            return
        file = WantedFile(MISSING, "the list of missing files")
        self.claim([file])
        self.put(file, format_missing(missing))

    def put(self, file: WantedFile, content: bytes) -> None:
        """Write a file that datapack makes itself, at a path that is claimed for it."""
        path = self.folder / file.path
        with disk_errors(self.folder):
            if not path.is_file() or path.read_bytes() != content:
                with atomic_writer(path) as out:
                    out.write(content)
            self.add(file, hash_bytes(content), FileStat.of(path.stat()))

    def finish(self) -> Contents:
        """Remove files that no source named, and empty folders; return what is left, and forget all else."""
        self.claims = Claims()  # their memory is used again for the listing
        with disk_errors(self.folder):
            listing = list_payload(self.bag)
            found = chain(listing.files, listing.irregular)
            unnamed = sorted_by_bytes(path for path in found if _in_payload(path) not in self.hashes)
            for path in unnamed:
                (self.bag / path).unlink()
            needed = {_below_bag(str(folder)) for folder in _folders(self.hashes)}
            for empty in sorted(listing.folders - needed, reverse=True):
                (self.bag / empty).rmdir()
        if unnamed:
            self.reporter.note(
                f"{self.reference}: the new bag leaves out {counted(len(unnamed), 'file')} of an earlier fetch or of "
                f"the parent that no source names, such as {_in_payload(unnamed[0])}; your own files stay as they are"
            )
        files = listing.files
        if unnamed:
            files = {path: stat for path, stat in files.items() if _in_payload(path) in self.hashes}
        return self._contents(Listing(files, frozenset(), listing.folders & needed))

    def _contents(self, listing: Listing) -> Contents:
        hashes = dict.fromkeys(listing.files, "")  # so the paths are those of the listing, and not as many new texts
        hashes.update((_below_bag(path), sha256) for path, sha256 in self.hashes.items())
        self.hashes = {}
        manifest = Manifest.of(hashes)
        del hashes
        urls = {path: url for path in manifest.hashes if (url := self._urls.get(_in_payload(path)))}
        return Contents(manifest, listing, urls)


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
