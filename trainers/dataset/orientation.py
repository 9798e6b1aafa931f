"""EXIF orientation: whether the boxes of an image are on its pixels as stored, or as turned for a viewer.

One rule for every list of images. The size in the COCO file decides where it can: for an image on its side (orientation
5 to 8) that is not square, it is the size of the stored or of the turned image. An image that is mirrored or upside
down (2 to 4), and a square one, has the same size either way. For these `image.exif` decides; with ``auto`` the other
images of the list do, if the sizes of at least one show it and all of them agree.
"""

from __future__ import annotations

import re
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NoReturn

from trainers.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from PIL import Image

    Size = tuple[int, int]  # width and height, pixels

Setting = Literal["auto", "apply", "ignore"]

_TAG, _WIDTH, _LENGTH = 274, 256, 257
_ALL, SIDEWAYS = range(1, 9), range(5, 9)  # of which the latter turn an image on its side
_FORMS = {3: "H", 4: "I"}  # of a whole number in EXIF data
_IN_XMP = re.compile('tiff:Orientation(?:="|>)([0-9])')
_FIX = "set image.exif to apply if the boxes were drawn on upright images, or to ignore if on images as they are stored"


def orientation_of(opened: Image.Image) -> int:
    """Return the orientation of an image that Pillow has opened: 1 to 8; 1 if it has none, or none that can be read.

    It is where Pillow looks for it. Pillow would also read all the rest, of which a file may have any amount.
    """
    info = opened.info
    if exif := info.get("exif") or _unpacked(info.get("Raw profile type exif", "")):
        found = _in_exif(exif.removeprefix(b"Exif\0\0"))
    else:
        found = getattr(opened, "tag_v2", {}).get(_TAG)
    if found is None and (match := _IN_XMP.search(_text(info.get("XML:com.adobe.xmp") or info.get("xmp") or ""))):
        found = int(match[1])
    return next((number for number in _ALL if number == found), 1)  # a TIFF may have it as a fraction


def has_late_exif(opened: Image.Image, content: bytes) -> bool:
    """Whether Pillow must load the pixels first: a PNG may have its EXIF data behind them."""
    return opened.format == "PNG" and "exif" not in opened.info and b"eXIf" in content


def _in_exif(exif: bytes) -> int | None:
    """Return the orientation in the first directory of EXIF data."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    entry = struct.Struct(f"{order}HHI4s")
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number, value = entry.unpack_from(exif, at)
            if tag == _TAG and kind in _FORMS and number == 1:
                return int(struct.unpack_from(order + _FORMS[kind], value)[0])
    except struct.error:  # the data is cut off
        pass
    return None


def _unpacked(profile: str) -> bytes:
    """Return the EXIF data that ImageMagick writes as a text: three lines, then hex digits."""
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return b""


def _text(xmp: str | bytes) -> str:
    return xmp if isinstance(xmp, str) else xmp.decode("latin-1")


def stored_size(opened: Image.Image) -> Size:
    """Return the size of the stored pixels. Pillow gives that of the turned image for a TIFF, which it turns itself."""
    if opened.format == "TIFF":
        tags: Mapping[int, int] = getattr(opened, "tag_v2", {})
        return tags[_WIDTH], tags[_LENGTH]
    return opened.size


def must_turn(orientation: int, stored: Size, given: Size) -> bool | None:
    """Whether the boxes are on the turned image, as the size in the COCO file shows; None if it does not show that."""
    if orientation in SIDEWAYS and given in {stored, stored[::-1]} and stored[0] != stored[1]:
        return stored != given
    return None


def turn(image: Image.Image, orientation: int, *, back: bool = False) -> Image.Image:
    """Turn an image as its orientation says, or ``back``."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90 if back else Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270 if back else Transpose.ROTATE_90,
    }
    return image.transpose(methods[orientation])


@dataclass
class TurnRule:
    """Whether to turn the images of a list whose own size does not show it. It is found out when it is first needed."""

    setting: Setting
    key: str  # of what the votes depend on
    votes: Callable[[], Iterable[bool | None]]  # reads all images of the list; for each what `must_turn` says
    note: Callable[[str], None]
    _found: Counter[bool | None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> bool:
        """Return whether to turn them.

        Raises:
            ConfigError: the other images do not show it, or do not agree.
        """
        if self.setting != "auto":
            return self.setting == "apply"
        with self._lock:
            if self._found is None:
                self.note("reading all images: not every size shows whether to turn its image; image.exif saves this")
                self._found = Counter(self.votes())
                if bool(self._found[True]) != bool(self._found[False]):
                    self.note(_decision(self._found[True], self._found[False]))
        turned, stored = self._found[True], self._found[False]
        return ask(turned, stored) if bool(turned) == bool(stored) else bool(turned)


def ask(turned: int = 0, stored: int = 0) -> NoReturn:
    """Stop and ask for `image.exif`: so many images have boxes on the turned and on the stored image."""
    raise ConfigError(
        "the EXIF data of some images say that they are mirrored, upside down, or square and on their side",
        expected="other images on their side, whose sizes show where the boxes are",
        found=f"{turned:,} with boxes on the turned image, {stored:,} on the stored one",
        fix=_FIX,
    )


def _decision(turned: int, stored: int) -> str:
    return f"EXIF orientation is {'applied' if turned else 'ignored'}, as the sizes of {turned + stored:,} images show"
