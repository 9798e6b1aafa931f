"""Boxes are where the COCO file's size puts them: one rule for all EXIF orientations, formats and shapes."""

import contextlib
import io
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trainers.dataset.decode import BrokenImageError, Remark, decode, on_turned_image
from trainers.dataset.orientation import TurnRule, orientation_of
from trainers.errors import ConfigError

WIDE, SQUARE = (48, 32), (32, 32)
FORMATS = {
    "jpeg": {"quality": 100, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
    "avif": {"quality": 100, "subsampling": "4:4:4"},
    "tiff": {},
    "tiff-lzw": {"compression": "tiff_lzw"},
}


#: What a viewer shows, from the stored pixels (EXIF 2.3, tag 274).
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}


def drawing(size):
    """Draw an image whose four corners differ."""
    width, height = size
    stored = np.zeros((height, width, 3), np.uint8)
    stored[: height // 2, : width // 2] = (250, 0, 0)
    stored[height // 2 :, : width // 2] = (0, 250, 0)
    stored[: height // 2, width // 2 :] = (0, 0, 250)
    return stored


def photo(orientation: int, size=WIDE, form="png") -> bytes:
    """Save the drawing with an EXIF orientation."""
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(drawing(size)).save(out, form.partition("-")[0], exif=exif, **FORMATS[form])
    return out.getvalue()


def same(one, other) -> bool:
    return one.shape == other.shape and np.abs(one.astype(int) - other).max() < 30


def never() -> bool:
    raise AssertionError("the size shows it")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_decides_where_it_can(orientation, form):
    """An image on its side that is not square is turned if the COCO file has the size of the turned image."""
    content = photo(orientation, form=form)
    if orientation >= 5:
        size = WIDE[::-1]
        assert same(decode(content, size, size, turns=never), UPRIGHT[orientation](drawing(WIDE)))
        assert on_turned_image(content, size) is True
        stored = decode(content, WIDE, WIDE, turns=never)
        assert on_turned_image(content, WIDE) is False
    else:
        with pytest.raises(BrokenImageError, match="expected 32 x 48 pixels, found 48 x 32"):
            decode(content, WIDE[::-1], WIDE[::-1], turns=never)
        stored = decode(content, WIDE, WIDE, turns=lambda: False)
        assert on_turned_image(content, WIDE) is None
    assert same(stored, drawing(WIDE))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("orientation", "size"), [(2, WIDE), (3, WIDE), (4, WIDE), *((i, SQUARE) for i in range(2, 9))]
)
def test_the_rule_decides_where_the_size_can_not(orientation, size, form):
    """An image that is mirrored, upside down or square is turned, or not, as the rule for its list says."""
    content, remarks = photo(orientation, size, form), []
    turned = decode(content, size, size, turns=lambda: True, remark=remarks.append)
    assert remarks == [Remark.TURNED]
    assert same(turned, UPRIGHT[orientation](drawing(size)))
    stored = decode(content, size, size, turns=lambda: False, remark=remarks.append)
    assert remarks == [Remark.TURNED]
    assert same(stored, drawing(size))
    assert not same(turned, stored)
    with pytest.raises(ConfigError, match=r"set image\.exif to apply"):
        decode(content, size, size)


@pytest.mark.parametrize("form", FORMATS)
def test_without_an_orientation_no_rule_is_needed(form):
    """An upright image, and one whose orientation is none of the eight, is never turned."""
    for orientation in (1,) if form == "tiff-lzw" else (1, 0, 9, 77):  # libtiff writes no others
        assert decode(photo(orientation, SQUARE, form), SQUARE, SQUARE, turns=never).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [([True, None], True), ([False, None, False], False), ([], None), ([None], None), ([True, False], None)],
)
def test_the_other_images_decide_if_they_agree(votes, expected):
    """With `auto`, the images whose size shows it decide; if there are none, or some of each, the user must."""
    asked, notes = [], []
    rule = TurnRule("auto", "", lambda: asked.append(1) or votes, notes.append)
    for _ in range(2):
        if expected is None:
            with pytest.raises(ConfigError, match="found 1 with .* 1 on" if len(votes) > 1 else "found 0 .* 0 on"):
                rule()
        else:
            assert rule() is expected
    assert len(asked) == 1
    assert len(notes) == 1 + (expected is not None)


@pytest.mark.parametrize(("setting", "expected"), [("apply", True), ("ignore", False)])
def test_the_setting_decides_without_reading_an_image(setting, expected):
    """`image.exif` says it at once."""
    assert TurnRule(setting, "", never, never)() is expected


def test_metadata_is_found_after_the_pixels_only_if_the_size_is_right():
    """A PNG may have its EXIF data at its end; one of another size is refused before Pillow decodes its pixels."""
    content = photo(3, SQUARE)
    at = content.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    moved = content[:at] + content[end:-12] + content[at:end] + content[-12:]
    assert same(decode(moved, SQUARE, SQUARE, turns=lambda: True), UPRIGHT[3](drawing(SQUARE)))
    with pytest.raises(BrokenImageError, match="expected 9 x 9 pixels, found 32 x 32"):
        decode(moved, (9, 9), (9, 9))


def exif(orientation, *, order="<", kind=3, count=1, before=3) -> bytes:
    """Write EXIF data with some other tags before the orientation."""
    tags = [(256 + number, 4, 1, 7) for number in range(before)]
    entries = b"".join(struct.pack(f"{order}HHII", *tag) for tag in tags)
    value = struct.pack(f"{order}HH" if kind == 3 else f"{order}I", *([orientation, 0] if kind == 3 else [orientation]))
    entries += struct.pack(f"{order}HHI", 0x0112, kind, count) + value
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIH", 42, 8, before + 1) + entries + b"\0\0\0\0"


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s/></x:xmpmeta>'
PROFILE = "\nexif\n      58\n" + exif(6).hex()


def saved(form="jpeg", text=(), **options) -> bytes:
    info, out = PngInfo(), io.BytesIO()
    for key, value in text:
        info.add_text(key, value)
    more = {"pnginfo": info} if form == "png" else {}
    Image.fromarray(drawing(WIDE)).save(out, form, **more, **options)
    return out.getvalue()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(exif=b"Exif\0\0" + exif(6)), 6),
        (saved(exif=b"Exif\0\0" + exif(5, order=">")), 5),
        (saved(exif=b"Exif\0\0" + exif(7, kind=4)), 7),
        (saved(xmp=XMP % b'tiff:Orientation="8"'), 8),
        (saved("png", [("XML:com.adobe.xmp", (XMP % b'tiff:Orientation="8"').decode())]), 8),
        (saved("png", [("Raw profile type exif", PROFILE)]), 6),
        (saved("tiff", tiffinfo={0x0112: 6}), 6),
        (saved(exif=b"Exif\0\0" + exif(2)[:-6]), 1),
        (saved(exif=b"Exif\0\0" + exif(6, kind=2)), 1),
        (saved(exif=b"Exif\0\0" + exif(60)), 1),
        (saved(exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), 1),
        (saved(exif=b"Exif\0\0"), 1),
        (saved("png", [("Raw profile type exif", "\nexif\n 3\nxyz")]), 1),
        (saved(xmp=XMP % b'tiff:Orientation="?"'), 1),
    ],
    ids=range(14),
)
def test_an_orientation_is_found_where_pillow_finds_it(content, expected):
    """EXIF data in either byte order, in XMP and in ImageMagick's text; what can't be read counts as none."""
    with Image.open(io.BytesIO(content)) as opened:
        assert orientation_of(opened) == expected
        with contextlib.suppress(Exception):  # Pillow gives up at once
            assert opened.getexif().get(0x0112, 1) in {expected, 60}


def test_hostile_metadata_costs_little():
    """EXIF data of tens of thousands of tags, each as large as the file, take no time, no memory and no log line."""
    tags = b"".join(struct.pack("<HHII", 1 + number % 200, 2, 200_000, 8) for number in range(65_535))
    hostile = b"II*\0\x08\0\0\0\xff\xff" + tags + bytes(200_000)
    content = saved("png", exif=hostile)
    tracemalloc.start()
    with warnings.catch_warnings(record=True) as noted:
        decode(content, WIDE, WIDE, turns=never)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(content)
    assert not noted
