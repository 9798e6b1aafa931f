"""Convert pixels of any depth to 8 bits of RGB, by a rule for each kind, or refuse them by name.

16 bits keep the upper 8, and so do the 12 bits that a TIFF declares. Grey is repeated, a palette is looked up, alpha is
dropped. Fractions and 32-bit or signed numbers are refused: their range is known only to the program that wrote them,
and cutting them off would give white or black images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image, ImageFile

_BITS, _INTERPRETATION = 258, 262  # tags of a TIFF
_WHITE_IS_ZERO = 0
_DARK = 4095 >> 8  # the upper 8 of 16 bits, if only 12 are used


def refusal(opened: Image.Image) -> str:
    """Say why the pixels can't be converted; nothing if they can."""
    if opened.mode == "F":
        what = "fractions"
    elif opened.mode == "I" and opened.format != "PPM":  # Pillow scales the numbers of a PPM to 16 bits
        what = "32-bit or signed numbers"
    else:
        return ""
    return f"its pixels are {what} (mode {opened.mode}), which have no fixed range: convert it to 8 or 16 bits"


def has_16_bits(opened: ImageFile.ImageFile) -> bool:
    """Whether an image that is not loaded yet has 16 bits per channel, whatever its mode."""
    form = opened.tile[0].args if opened.tile else ""
    return "16" in str(form[0] if isinstance(form, tuple) else form)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8 bits of RGB."""
    from PIL import Image

    if image.mode == "I" or image.mode.startswith("I;16"):
        lower, inverted = _grey_form(image)
        values = (np.asarray(image) >> lower).astype(np.uint8)
        return Image.fromarray(~values if inverted else values).convert("RGB")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def uses_12_bits(image: Image.Image) -> bool:
    """Whether an image that had 16 bits per channel has no value above 4095."""
    return bool(np.asarray(image).max() <= _DARK)


def _grey_form(image: Image.Image) -> tuple[int, bool]:
    """Return how many lower bits to drop, and whether 0 is white: Pillow leaves both to us, of a TIFF."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return (4 if tags.get(_BITS) == (12,) else 8), tags.get(_INTERPRETATION) == _WHITE_IS_ZERO
