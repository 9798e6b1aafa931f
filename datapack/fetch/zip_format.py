"""What Python's `zipfile` leaves open: how large an archive's directory may be, and which name a member has."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO
from zipfile import BadZipFile

if TYPE_CHECKING:
    from zipfile import ZipInfo

_END, _END64, _LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_SIZE, _LOCATOR_SIZE, _END64_SIZE = 22, 20, 56
_LONGEST_COMMENT = 0xFFFF
_UNKNOWN = 0xFFFFFFFF  # of the zip form for small archives
_LARGEST_DIRECTORY = 160 << 20  # bytes, of a million members
_IS_UTF8 = 0x800  # flag of a member
_UNICODE_PATH, _UNICODE_VERSION = 0x7075, 1


def check_directory(file: BinaryIO) -> None:
    """Refuse an archive whose directory `zipfile` would read into memory whatever its size.

    Raises:
        BadZipFile: it is too large, or the archive is cut off.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT - _LOCATOR_SIZE))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise BadZipFile("it is cut off: its directory is missing")
    (directory,) = struct.unpack_from("<I", tail, at + 12)
    if directory == _UNKNOWN:
        directory = _directory_size64(file, tail[max(0, at - _LOCATOR_SIZE) : at])
    file.seek(0)
    if directory > min(size, _LARGEST_DIRECTORY):
        raise BadZipFile(f"its directory has {directory:,} bytes")


def _directory_size64(file: BinaryIO, locator: bytes) -> int:
    if not locator.startswith(_LOCATOR) or len(locator) < _LOCATOR_SIZE:
        raise BadZipFile("its directory is damaged")
    (at,) = struct.unpack_from("<Q", locator, 8)
    file.seek(min(at, 1 << 62))
    record = file.read(_END64_SIZE)
    if not record.startswith(_END64) or len(record) < _END64_SIZE:
        raise BadZipFile("its directory is damaged")
    return int(struct.unpack_from("<Q", record, 40)[0])


def zip_name(info: ZipInfo) -> str:
    """Return a member's name, the same on every version of Python.

    It is UTF-8 if the archive says so. If not, programs of this century still write UTF-8, and old ones CP437, the
    letters of MS-DOS, in which UTF-8 text would make no sense.

    Raises:
        BadZipFile: the name has a zero byte, where some programs end it.
    """
    written = info.orig_filename
    if "\0" in written:
        raise BadZipFile(f"the name {written!a} has a zero byte")
    name = written
    if not info.flag_bits & _IS_UTF8:
        raw = written.encode("cp437")
        name = _unicode_path(info.extra, raw) or _decode(raw, written)
    while name.startswith("./"):
        name = name[2:]
    return name


def _decode(raw: bytes, otherwise: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return otherwise


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name in Info-ZIP's field for it, which holds only for the name that it has the CRC of."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == _UNICODE_PATH and len(field) > 5 and field[0] == _UNICODE_VERSION:  # noqa: PLR2004 - version, CRC
            (crc,) = struct.unpack_from("<I", field, 1)
            if crc == zlib.crc32(raw):
                return _decode(field[5:], "")
        at += 4 + length
    return ""
