"""What the metadata of an image tells: EXIF, XMP, IPTC and texts. Only the names of fields are kept, never a value."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from datapack.download.tiff_tags import Tag, TiffTags

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_BLOCK = 1 << 20  # bytes of one piece of metadata that are read: real ones have a few kilobytes

_ORIENTATION, _XMP, _IPTC, _PHOTOSHOP, _EXIF, _GPS, _MAKER = 274, 700, 33723, 34377, 34665, 34853, 37500
_LATITUDE, _LONGITUDE = 2, 4
_FIRST = {  # tags of the first directory
    315: "Artist",
    316: "HostComputer",
    33432: "Copyright",
    40093: "XPAuthor",
    50735: "CameraSerialNumber",
}
_CAMERA = {42032: "CameraOwnerName", 42033: "BodySerialNumber", 42037: "LensSerialNumber"}  # of the EXIF directory
_CANON = {9: "OwnerName", 12: "SerialNumber", 150: "InternalSerialNumber"}
_NIKON = {29: "SerialNumber", 160: "SerialNumber"}
_TEXTS = {"author": "Author", "artist": "Artist", "copyright": "Copyright", "creator": "Creator"}  # keywords of a PNG
_IPTC_FIELD = re.compile(rb"\x1c\x02([\x50\x74\x76\x7a])(?:\0[\1-\xff]|[\1-\x7f].)", re.DOTALL)
_IPTC_NAMES = {80: "By-line", 116: "CopyrightNotice", 118: "Contact", 122: "Writer"}
_XMP_NAMES = (
    rb"aux:(?:SerialNumber|LensSerialNumber|OwnerName)|exifEX:(?:BodySerialNumber|LensSerialNumber|CameraOwnerName)"
    rb"|tiff:(?:Artist|HostComputer|Copyright|Orientation)|dc:(?:creator|rights)|exif:GPSLatitude|xmpRights:Owner"
    rb"|MicrosoftPhoto:CameraSerialNumber|Iptc4xmpExt:PersonInImage|MPReg:PersonDisplayName|mwg-rs:Name"
    rb"|Iptc4xmpCore:CreatorContactInfo|photoshop:(?:Credit|AuthorsPosition|CaptionWriter)"
)
_XMP_FIELD = re.compile(
    rb"(?:(?<=<)|(?<=\s))(" + _XMP_NAMES + rb")(?!\w)"
    rb"(?:\s{0,20}=\s{0,20}[\"']\s{0,99}([^\"'\s])|[^<>]{0,200}(?<!/)>(?:\s|</?rdf:[^<>]{0,200}>){0,40}([^<\s]))"
)
_UPRIGHT, _LAST = 1, 8


@dataclass
class Facts:
    """What was read from the metadata of one image."""

    orientation: int = _UPRIGHT
    has_position: bool = False
    fields: dict[str, None] = field(default_factory=dict)  # names, in the order in which they were found

    def add(self, name: str) -> None:
        self.fields[name] = None

    def add_exif(self, content: bytes) -> None:
        """Read EXIF data, with or without the six bytes that begin it in a JPEG."""
        self.add_tiff(io.BytesIO(content.removeprefix(b"Exif\0\0")))

    def add_tiff(self, file: BinaryIO) -> None:
        """Read the tags of a TIFF file, or of EXIF data."""
        try:
            tiff = TiffTags(file)
        except ValueError:  # broken metadata tells nothing; the image may be whole
            return
        tags = tiff.directory(tiff.first)
        self._orient(tiff.number(tags.get(_ORIENTATION)))
        self._add_named(tiff, tags, _FIRST)
        if _XMP in tags:
            self.add_xmp(tiff.value(tags[_XMP]))
        for name in (_IPTC, _PHOTOSHOP):
            if name in tags:
                self.add_iptc(tiff.value(tags[name]))
        camera = self._pointed(tiff, tags, _EXIF)
        self._add_named(tiff, camera, _CAMERA)
        if _MAKER in camera:
            self._add_maker(tiff, camera[_MAKER])
        position = self._pointed(tiff, tags, _GPS) or self._pointed(tiff, camera, _GPS)
        if any(tiff.numbers(position.get(_LATITUDE))[1::2]) and any(tiff.numbers(position.get(_LONGITUDE))[1::2]):
            self.has_position = True  # a fraction over 0 is no number: such a position is not known

    def add_xmp(self, content: bytes) -> None:
        """Read XMP data: fields that have a value."""
        if content[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in content[:4]:
            content = content.replace(b"\0", b"")  # UTF-16: the names of fields are ASCII
        for found in _XMP_FIELD.finditer(content[:LARGEST_BLOCK]):
            name = found[1].decode().partition(":")[2]
            if name == "Orientation":
                self._orient(int(found[2] or found[3]) if (found[2] or found[3]).isdigit() else None)
            elif name == "GPSLatitude":
                self.has_position = True
            else:
                self.add({"creator": "Creator", "rights": "Copyright", "Name": "PersonInImage"}.get(name, name))

    def add_iptc(self, content: bytes) -> None:
        """Read IPTC data: the names of its author and of others."""
        for found in _IPTC_FIELD.finditer(content[:LARGEST_BLOCK]):
            self.add(_IPTC_NAMES[found[1][0]])

    def add_text(self, keyword: bytes, text: bytes) -> None:
        """Read a text of a PNG. Programs also write EXIF, XMP and IPTC data as texts, in hex digits."""
        word = keyword.decode("latin-1").lower()
        if word == "xml:com.adobe.xmp":
            self.add_xmp(text)
        elif word.startswith("raw profile type "):
            self._add_profile(word.rpartition(" ")[2], _unhex(text))
        elif word in _TEXTS and text.strip():
            self.add(_TEXTS[word])

    def _add_profile(self, kind: str, content: bytes) -> None:
        if kind in {"exif", "app1"}:
            self.add_exif(content)
        elif kind in {"iptc", "8bim"}:
            self.add_iptc(content)
        if kind in {"xmp", "app1"}:
            self.add_xmp(content)

    def _orient(self, number: int | None) -> None:
        """Take the first orientation that is found; EXIF comes before XMP in a file, and counts for viewers."""
        if number is not None and _UPRIGHT < number <= _LAST and self.orientation == _UPRIGHT:
            self.orientation = number

    def _add_named(self, tiff: TiffTags, tags: Mapping[int, Tag], names: Mapping[int, str]) -> None:
        for number in tags.keys() & names.keys():
            if tiff.value(tags[number]).strip(b" \0\t\r\n"):
                self.add(names[number])

    @staticmethod
    def _pointed(tiff: TiffTags, tags: Mapping[int, Tag], name: int) -> Mapping[int, Tag]:
        """Return the directory that a tag points to."""
        place = tiff.number(tags.get(name))
        return {} if place is None else tiff.directory(place)

    def _add_maker(self, tiff: TiffTags, tag: Tag) -> None:
        """Read the notes of Canon, which begin with their directory, and of Nikon, which are EXIF data themselves."""
        notes = tiff.value(tag)
        try:
            if notes.startswith(b"Nikon\0\2"):
                own = TiffTags(io.BytesIO(notes), 10)
                self._add_named(own, own.directory(own.first), _NIKON)
            elif notes[1:2] == b"\0" and tag.size > len(tag.content):
                self._add_named(tiff, tiff.directory(tiff.place(tag)), _CANON)
        except ValueError:
            return


def _unhex(text: bytes) -> bytes:
    """Return the bytes that ImageMagick writes as a text: three lines, then hex digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def inflate(content: bytes) -> bytes:
    """Return compressed text, at most `LARGEST_BLOCK` bytes of it; nothing if it is broken."""
    try:
        return zlib.decompressobj().decompress(content, LARGEST_BLOCK)
    except zlib.error:
        return b""
