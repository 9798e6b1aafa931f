"""Archives whose files become files of a payload: zip, and tar with or without compression.

Archives come from others. Their names are only names here, memory stays flat, and what programs read differently, or
what would fill the disk, is an error in one line.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import shutil
import stat
import zipfile
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, cast

from datapack.errors import FetchError
from datapack.fetch.zip_format import check_directory, zip_name
from datapack.oci.compression import zstd_module
from datapack.oci.tar import BLOCK, READ_AT_ONCE, TarError, TarReader
from datapack.text import size

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path

    from datapack.oci.tar import Entry, Readable

MOST_MEMBERS = 1_000_000
_MOST_GAIN, _ALWAYS_ALLOWED = 1000, 1 << 30  # how often as large as the archive its files may be; bytes that always may
_XZ_MEMORY = 1 << 29  # bytes: xz -9 needs an eighth of it
_HEADER = 30  # bytes of the smallest header before a zip member
_ENCRYPTED = 0x1 | 0x40  # flags of a zip member
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, TarError, OSError, NotImplementedError, ValueError)


class Member(NamedTuple):
    """A file in an archive, or something else that is not a folder: ``kind`` says what."""

    name: str
    size: int
    kind: str  # "a file" for one that can be unpacked


class Archive(Protocol):
    """An archive that can be read from its start, several times."""

    def members(self) -> Iterator[Member]:
        """Yield everything but folders."""

    def contents(self, wanted: Container[str]) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yield those of these members that are files, each with its content, to be read before the next one."""


@contextlib.contextmanager
def open_archive(path: Path, where: str) -> Iterator[Archive]:
    """Open an archive; turn what goes wrong in reading it into errors that begin with ``where``.

    Raises:
        FetchError: it is no archive of a known kind, or it is damaged, too large or not safe to unpack.
    """
    with _damage(where), path.open("rb") as file:
        start = file.read(BLOCK)
        file.seek(0)
        if start.startswith((b"PK\3\4", b"PK\5\6")):
            check_directory(file)
            with zipfile.ZipFile(file) as archive:
                yield _Zip(archive, _Limit.of(path))
            return
        yield _Tar(file, _find_compression(start), _Limit.of(path))


@contextlib.contextmanager
def _damage(where: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk
            raise
        raise FetchError("can't unpack the archive", where=where, found=str(error) or type(error).__name__) from error


class _Limit(NamedTuple):
    """The bounds of what an archive may hold."""

    packed: int
    disk: int  # bytes of the whole disk

    @classmethod
    def of(cls, path: Path) -> _Limit:
        return cls(path.stat().st_size, shutil.disk_usage(path).total)

    def check(self, unpacked: int) -> None:
        """Raise `ValueError` if no disk, or no honest archive, would hold so much."""
        if unpacked > self.disk:
            raise ValueError(f"more than {size(self.disk)}, the size of the disk, when unpacked")
        if unpacked > max(_ALWAYS_ALLOWED, _MOST_GAIN * self.packed):
            raise ValueError(f"{size(self.packed)} that become more than {_MOST_GAIN:,} times as much: a zip bomb")


def _count(members: Iterator[Member]) -> Iterator[Member]:
    for number, member in enumerate(members):
        if number == MOST_MEMBERS:
            raise ValueError(f"more than {MOST_MEMBERS:,} files")
        yield member


class _Zip:
    """A zip archive."""

    def __init__(self, archive: zipfile.ZipFile, limit: _Limit) -> None:
        self._archive, self._limit = archive, limit

    def members(self) -> Iterator[Member]:
        infos = self._archive.infolist()
        self._limit.check(sum(info.file_size for info in infos))
        _check_overlaps(infos, self._archive.start_dir)
        return _count(Member(zip_name(info), info.file_size, _kind(info)) for info in infos if not _is_folder(info))

    def contents(self, wanted: Container[str]) -> Iterator[tuple[Member, Iterator[bytes]]]:
        for info in self._archive.infolist():
            name = zip_name(info)
            if name in wanted and not _is_folder(info):
                with self._archive.open(info) as file:
                    yield Member(name, info.file_size, _kind(info)), _read(file, name, info.file_size)


def _read(file: Readable, name: str, expected: int) -> Iterator[bytes]:
    found = 0
    while block := file.read(READ_AT_ONCE):
        found += len(block)
        yield block
    if found != expected:
        raise EOFError(f"{name!a} has {found:,} bytes, not {expected:,}")


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return zip_name(info).endswith("/")


def _kind(info: zipfile.ZipInfo) -> str:
    """Say what a member is. Unix programs keep the mode; others leave it out."""
    form = stat.S_IFMT(info.external_attr >> 16)
    if form not in {0, stat.S_IFREG}:
        return "a symbolic link" if form == stat.S_IFLNK else "a device or the like"
    if info.flag_bits & _ENCRYPTED:
        return "an encrypted file"
    return "a file" if info.compress_type in _METHODS else "a file with an unusual compression"


def _check_overlaps(infos: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse members that share bytes: a small archive could hold petabytes."""
    headers = sorted((info.header_offset, _HEADER + info.compress_size, info.filename) for info in infos)
    for (start, length, name), (following, _, _) in pairwise([*headers, (end, 0, "")]):
        if start + length > following:
            raise zipfile.BadZipFile(f"{name!a} overlaps with other parts of the archive")


class _Tar:
    """A tar archive; each reading starts at its beginning."""

    def __init__(self, file: BinaryIO, unpack: Callable[[BinaryIO], Readable], limit: _Limit) -> None:
        self._file, self._unpack, self._limit = file, unpack, limit

    def members(self) -> Iterator[Member]:
        return _count(Member(_plain(entry.name), entry.size, entry.kind) for _, entry in self._entries())

    def contents(self, wanted: Container[str]) -> Iterator[tuple[Member, Iterator[bytes]]]:
        for reader, entry in self._entries():
            name = _plain(entry.name)
            if name in wanted and entry.is_file:
                yield Member(name, entry.size, entry.kind), reader.content(entry)

    def _entries(self) -> Iterator[tuple[TarReader, Entry]]:
        """Yield everything but folders; check that the archive ends as it should."""
        self._file.seek(0)
        stream = _Bounded(self._unpack(self._file), self._limit)
        reader, end = TarReader(stream, self._limit.disk), 0
        for entry in reader:
            end = entry.start + entry.size + -entry.size % BLOCK
            if not entry.is_folder:
                yield reader, entry
        if stream.count < end + BLOCK:
            raise EOFError("it is cut off")
        while block := stream.read(READ_AT_ONCE):
            if block.strip(b"\0"):
                raise TarError("something follows its end")


def _plain(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


class _Bounded:
    """A stream whose bytes are counted, up to the limit."""

    def __init__(self, stream: Readable, limit: _Limit) -> None:
        self._stream, self._limit = stream, limit
        self.count = 0

    def read(self, count: int, /) -> bytes:
        block = self._stream.read(count)
        self.count += len(block)
        self._limit.check(self.count)
        return block


class _Unpacked:
    """What a decompressor of Python's makes of a file, which may hold several streams in a row."""

    def __init__(self, file: BinaryIO, new: Callable[[], Any]) -> None:
        self._file, self._new = file, new
        self._decompressor, self._packed = new(), b""

    def read(self, count: int, /) -> bytes:
        while True:
            if self._decompressor.eof:
                self._packed = self._decompressor.unused_data or self._file.read(READ_AT_ONCE)
                if not self._packed:
                    return b""
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not self._packed:
                self._packed = self._file.read(READ_AT_ONCE)
                if not self._packed:
                    raise EOFError("it is cut off")
            block = self._decompressor.decompress(self._packed, count)
            self._packed = b""
            if block:
                return cast("bytes", block)


def _find_compression(start: bytes) -> Callable[[BinaryIO], Readable]:
    """Return what unpacks a file that begins so into a tar archive."""
    if start.startswith(b"\x1f\x8b"):
        return lambda file: gzip.GzipFile(fileobj=file, mode="rb")
    if start.startswith(b"BZh"):
        return lambda file: _Unpacked(file, bz2.BZ2Decompressor)
    if start.startswith(b"\xfd7zXZ\0"):
        return lambda file: _Unpacked(file, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY))
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return _unpack_zstd
    if start[257:262] == b"ustar" or not start.strip(b"\0"):
        return lambda file: file
    raise ValueError("it is neither a zip nor a tar archive (plain, gzip, bzip2, xz or zstd)")


def _unpack_zstd(file: BinaryIO) -> Readable:
    module = zstd_module()
    if module is None:
        raise NotImplementedError("it is compressed with zstd: install the package zstandard beside datapack")
    if hasattr(module, "ZstdFile"):
        return _Zstd(module.ZstdFile(file), module.ZstdError)
    return _Zstd(module.ZstdDecompressor().stream_reader(file, read_across_frames=True), module.ZstdError)


class _Zstd:
    """A stream of zstd, whose errors are of a kind of their own."""

    def __init__(self, stream: Readable, error: type[Exception]) -> None:
        self._stream, self._error = stream, error

    def read(self, count: int, /) -> bytes:
        try:
            return self._stream.read(count)
        except self._error as error:
            raise ValueError(str(error)) from error
