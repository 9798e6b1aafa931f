"""Tar archives, read entry by entry from a file or a stream, within bounds.

The headers come from others, so nothing is read ahead, searched for or held in memory beyond a limit. Each entry keeps
its header's bytes: an archive of datapack's can be compared bit for bit.
"""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = tarfile.BLOCKSIZE
READ_AT_ONCE = 1 << 20  # bytes
_EXTENSION_LIMIT = 1 << 20  # bytes of the records before a header; Go, and so Docker, accepts no more
_LONGEST_PATH = 4096  # bytes: Linux opens no longer one
_EXTENSIONS = {*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE}
_MAGIC, _PREFIX, _TRAILER = slice(257, 265), slice(345, 500), slice(508, 512)  # fields of a header
#: Attributes by which engines keep what overlayfs, or an ordinary user, can't: it is where, or what, they say.
_OVERLAY = re.compile(r"(SCHILY|LIBARCHIVE)\.xattr\.[a-z]+\.(overlay|fuseoverlayfs|containers)\.")
_RECORD = re.compile(rb"([1-9][0-9]{0,7}) ([^=\x00]+)=")
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a FIFO",
}


class TarError(ValueError):
    """An archive that can't be read, or that programs read differently."""


class Entry(NamedTuple):
    """One entry of an archive. The names are as written; a folder's has no slash at its end."""

    name: str
    form: bytes  # the type flag, as in `tarfile`
    size: int  # bytes of content that follow the header
    link: str
    header: bytes  # with the records before it
    start: int  # where the content starts

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return _KINDS.get(self.form, "a file" if self.is_file else "something else")

    @property
    def is_file(self) -> bool:
        return self.form in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}

    @property
    def is_folder(self) -> bool:
        return self.form == tarfile.DIRTYPE


class Readable(Protocol):
    """What an archive is read from."""

    def read(self, count: int, /) -> bytes:
        """Return up to ``count`` bytes; none at the end."""


class TarReader:
    """Reads an archive from its start. Between two entries, the content of the first may be read.

    Args:
        file: the archive's bytes.
        size: how many there are at most. No entry may reach beyond it.
        seek: moves ``file`` to a place, where it can; otherwise the bytes between are read.
    """

    def __init__(self, file: Readable, size: int, seek: Callable[[int], object] | None = None) -> None:
        self._file, self._size, self._seek = file, size, seek
        self._at = self._next = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries; raise `TarError` for a header that is malformed, or that programs read differently."""
        while True:
            self._skip_to(self._next)
            entry = self._entry()
            if entry is None:
                return
            self._next = entry.start + entry.size + -entry.size % BLOCK
            if entry.start + entry.size > self._size:
                raise TarError(f"{entry.name!a} is cut off")
            yield entry

    def content(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content of the entry that was read last, in blocks; raise `TarError` if it is cut off."""
        end = entry.start + entry.size
        while self._at < end:
            block = self._read(min(READ_AT_ONCE, end - self._at))
            if not block:
                raise TarError(f"{entry.name!a} is cut off")
            yield block

    def padding(self) -> bytes:
        """Read what is between the content that was just read and the next header."""
        return self._read_all(self._next - self._at)

    def rest(self, limit: int) -> bytes:
        """Read what follows the last entry, without the block that ended it: up to ``limit`` bytes."""
        return self._read_all(limit)

    def _entry(self) -> Entry | None:
        """Read one header with the records before it; None at the end of the archive."""
        raw, extensions = b"", _Extensions()
        while True:
            block = self._read_all(BLOCK)
            if block == bytes(len(block)):  # zeros, or nothing at all
                if raw:
                    raise TarError("a header is missing")
                return None
            info = _parse(block)
            raw += block
            if info.type not in _EXTENSIONS:
                return self._described(block, info, extensions.records, raw)
            content = self._read_extension(info)
            extensions.add(info.type, content[: info.size])
            raw += content
            if len(raw) > _EXTENSION_LIMIT:
                raise TarError("the records before a header are too large")

    def _read_extension(self, info: tarfile.TarInfo) -> bytes:
        if info.size > _EXTENSION_LIMIT:
            raise TarError("the records before a header are too large")
        count = info.size + -info.size % BLOCK
        content = self._read_all(count)
        if len(content) < count:
            raise TarError("the archive is cut off")
        return content

    def _described(self, block: bytes, info: tarfile.TarInfo, records: dict[str, str], raw: bytes) -> Entry:
        """Apply the records to a header, as Go's ``archive/tar`` does."""
        size, name = records.get("size", str(info.size)), records.get("path", info.name)
        if not (size.isascii() and size.isdigit() and len(size) < 20):  # noqa: PLR2004 - 64 bits
            raise TarError(f"{name!a} has the size {size[:20]}")
        form = block[156:157]
        if form == tarfile.AREGTYPE and name.endswith("/"):  # the oldest form of a folder
            form = tarfile.DIRTYPE
        if (not name and form != tarfile.DIRTYPE) or len(name) > _LONGEST_PATH or "\0" in name:
            raise TarError("an entry's name is empty, too long, or has a zero byte")
        content = 0 if form in _KINDS else int(size)  # only what is not in the list has content
        name = name.rstrip("/") or "/" if form == tarfile.DIRTYPE else name
        return Entry(name, form, content, records.get("linkpath", info.linkname), raw, self._at)

    def _skip_to(self, place: int) -> None:
        if self._seek and place > self._at:
            self._seek(place)
            self._at = place
        while self._at < place:
            if not self._read(min(READ_AT_ONCE, place - self._at)):
                raise TarError("the archive is cut off")

    def _read_all(self, count: int) -> bytes:
        """Read ``count`` bytes, or fewer at the end."""
        parts = []
        while count and (part := self._read(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _read(self, count: int) -> bytes:
        block = self._file.read(count)
        self._at += len(block)
        return block


class _Extensions:
    """What the headers before a header say of it. Programs disagree about more than one of them, so that is refused."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}
        self._forms: list[bytes] = []

    def add(self, form: bytes, content: bytes) -> None:
        """Add what is in one header."""
        if form == tarfile.GNUTYPE_SPARSE:
            raise TarError("a sparse file, which programs read differently")
        if self._forms and (form in self._forms or {tarfile.XHDTYPE, tarfile.XGLTYPE} & {form, *self._forms}):
            raise TarError("several headers describe one file, which programs read differently")
        if form == tarfile.XGLTYPE:  # engines ignore global records
            return
        if form == tarfile.XHDTYPE:
            self.records |= _pax(content)
        else:
            key = "path" if form == tarfile.GNUTYPE_LONGNAME else "linkpath"
            self.records[key] = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
        self._forms.append(form)


def _parse(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise TarError(str(error)) from error
    if info.size < 0:
        raise TarError(f"{info.name!a} has the size {info.size}")
    if any(block[_PREFIX]) and (block[_MAGIC] != tarfile.POSIX_MAGIC or block[_TRAILER] == b"tar\0"):
        raise TarError("an old form of header, which programs read differently")
    return info


def _pax(content: bytes) -> Iterator[tuple[str, str]]:
    """Read pax records, each ``<length> <key>=<value>`` and a line feed. An empty value means that there is none."""
    place = 0
    while place < len(content):
        match = _RECORD.match(content, place)
        end = place + int(match[1]) if match else 0
        if match is None or end > len(content) or match.end() >= end or content[end - 1 : end] != b"\n":
            raise TarError("malformed pax records")
        key, value = match[2].decode("utf-8", "replace"), content[match.end() : end - 1]
        if key.startswith("GNU.sparse"):
            raise TarError("a sparse file, which programs read differently")
        if _OVERLAY.match(key):
            raise TarError(f"the attribute {key!a}, which some engines obey")
        if value:
            yield key, value.decode("utf-8", "surrogateescape")
        place = end
