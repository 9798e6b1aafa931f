"""EXIF orientation: whether the boxes of an image are on its pixels as stored, or as turned for a viewer.

One rule for every list of images. The size in the COCO file decides where it can: for an image on its side (orientation
5 to 8) that is not square, it is the size of the stored or of the turned image. An image that is mirrored or upside
down (2 to 4), and a square one, has the same size either way. For these `image.exif` decides; with ``auto`` the other
images of the list do, if the sizes of at least one show it and all of them agree.
"""

from __future__ import annotations

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
_SIDEWAYS = range(5, 9)
_TEXTS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}  # where Pillow finds it, of a PNG
_FIX = "set image.exif to apply if the boxes were drawn on upright images, or to ignore if on images as they are stored"


def orientation_of(opened: Image.Image, content: bytes) -> int:
    """Return the orientation of an image that Pillow has opened: 1 to 8; 1 if it has none, or none that can be read."""
    if opened.format == "PNG" and not _TEXTS & opened.info.keys() and b"eXIf" not in content:
        return 1  # Pillow would decode all pixels to look behind them
    try:
        found = opened.getexif().get(_TAG, 1)
    except Exception:  # broken metadata says nothing about the pixels
        return 1
    return found if isinstance(found, int) and 1 <= found <= max(_SIDEWAYS) else 1


def stored_size(opened: Image.Image) -> Size:
    """Return the size of the stored pixels. Pillow gives that of the turned image for a TIFF, which it turns itself."""
    if opened.format == "TIFF":
        tags: Mapping[int, int] = getattr(opened, "tag_v2", {})
        return tags[_WIDTH], tags[_LENGTH]
    return opened.size


def must_turn(orientation: int, stored: Size, given: Size) -> bool | None:
    """Whether the boxes are on the turned image, as the size in the COCO file shows; None if it does not show that."""
    if orientation in _SIDEWAYS and given in {stored, stored[::-1]} and stored[0] != stored[1]:
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
