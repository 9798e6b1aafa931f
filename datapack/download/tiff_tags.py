"""The tags of a TIFF file and of EXIF data, which has the same form. Whatever a file says, little of it is read."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_TAGS = 4096  # of a directory: a real one has a few dozen
_MOST_BYTES = 1 << 20  # of a value
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 5: "I", 10: "I", 13: "I", 16: "Q", 18: "Q"}  # 5, 10: fractions, as two numbers each


class Tag(NamedTuple):
    """A tag: the type and the number of its values, and the bytes that hold them or say where they are."""

    kind: int
    values: int
    content: bytes

    @property
    def size(self) -> int:
        """The bytes that its values take."""
        return _SIZES.get(self.kind, 0) * self.values


class TiffTags:
    """Reads the directories of tags of a file, or of EXIF data in memory."""

    def __init__(self, file: BinaryIO, base: int = 0) -> None:
        """Read the header at ``base``, from which all places count.

        Raises:
            ValueError: there is no such header.
        """
        self._file, self._base = file, base
        header = self._read(0, 16)
        self._order = {b"II": "<", b"MM": ">"}.get(header[:2], "")
        self._big = b"+" in header[2:4]
        if not self._order or len(header) < (16 if self._big else 8):
            raise ValueError("no TIFF header")
        (self.first,) = self._unpack("Q", header[8:16]) if self._big else self._unpack("I", header[4:8])

    def directory(self, place: int) -> Mapping[int, Tag]:
        """Return the tags of the directory at a place; none if there is no directory."""
        tag = struct.Struct(f"{self._order}HH{'Q8s' if self._big else 'I4s'}")
        size = 8 if self._big else 2
        number = self._read(place, size)
        if len(number) < size:
            return {}
        (count,) = self._unpack("Q" if self._big else "H", number)
        content = self._read(place + size, min(count, _MOST_TAGS) * tag.size)
        rows = tag.iter_unpack(content[: len(content) // tag.size * tag.size])
        found: dict[int, Tag] = {}
        for name, kind, values, value in rows:
            found.setdefault(name, Tag(kind, values, value))
        return found

    def value(self, tag: Tag) -> bytes:
        """Return the bytes of a tag's values, as far as the file has them."""
        if tag.size <= len(tag.content):
            return tag.content[: tag.size]
        return self._read(self.place(tag), min(tag.size, _MOST_BYTES))

    def place(self, tag: Tag) -> int:
        """Return where the values of a tag are that do not fit into it."""
        return self._unpack("Q" if self._big else "I", tag.content)[0]

    def numbers(self, tag: Tag | None) -> tuple[int, ...]:
        """Return a tag's whole numbers, fractions as two numbers each; none if it has none."""
        if tag is None or tag.kind not in _WHOLE:
            return ()
        letter = _WHOLE[tag.kind]
        value, size = self.value(tag), struct.calcsize(f"={letter}")
        return self._unpack(f"{len(value) // size}{letter}", value[: len(value) // size * size])

    def number(self, tag: Tag | None) -> int | None:
        """Return the first of a tag's whole numbers; None if it has none."""
        return next(iter(self.numbers(tag)), None)

    def _unpack(self, form: str, content: bytes) -> tuple[int, ...]:
        return struct.unpack(f"{self._order}{form}", content)

    def _read(self, place: int, count: int) -> bytes:
        if place + self._base > self._file.seek(0, os.SEEK_END):
            return b""
        self._file.seek(self._base + place)
        return self._file.read(count)
