"""A hostile image gives pixels or one line, in little time and memory: what is read of it is bounded."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from trainers.dataset.decode import LARGEST, BrokenImageError, decode

SIZE = (64, 48)
MANY = 300_000
TOO_MANY = "can't be decoded: it has too much metadata, or is cut into too many pieces"


def image(form: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], len(mode)), np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(out, form, **options)
    return out.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def inserted(content: bytes, before: bytes, more: bytes, back: int = 0) -> bytes:
    at = content.index(before) - back
    return content[:at] + more + content[at:]


def tiff(more: list[tuple[int, int, int, int]]) -> bytes:
    """Make a grey TIFF with more tags: number, type, count, and value or place."""
    width, height = SIZE
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, width * height), *more]
    rows = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + rows + bytes(4 + width * height)


LARGE_SEGMENT = b"\xff\xe1\xff\xffExif\0\0" + bytes(0xFFFF - 8)
TIFF_TAGS = range(1000, 61_000)
BOMBS = {
    "empty segments of a JPEG": lambda: inserted(image("JPEG"), b"\xff\xe0", b"\xff\xee\0\2" * MANY),
    "EXIF segments of a JPEG": lambda: inserted(image("JPEG"), b"\xff\xe0", b"\xff\xe1\0\x0cExif\0\0abcd" * MANY),
    "large segments of a JPEG": lambda: inserted(
        image("JPEG"), b"\xff\xe0", b"\xff\xe1\xff\xff" * 300 + bytes(2 << 24)
    ),
    "chunks before a PNG's pixels": lambda: inserted(image("PNG"), b"IDAT", chunk(b"teSt") * MANY, 4),
    "chunks after a PNG's pixels": lambda: inserted(image("PNG"), b"IEND", chunk(b"teSt") * MANY, 4),
    "pieces of a PNG's pixels": lambda: inserted(image("PNG"), b"IDAT", chunk(b"IDAT") * MANY, 4),
    "comments of a GIF": lambda: inserted(image("GIF"), b",\0\0\0\0", b"!\xfe\1x\0" * MANY),
    "60,000 tags of a TIFF": lambda: tiff([(tag, 4, 1, 0) for tag in TIFF_TAGS]),
    "boxes of a JPEG 2000": lambda: inserted(image("JPEG2000"), b"jp2h", b"\0\0\0\x08free" * MANY, 4),
    "comments of a PPM": lambda: inserted(image("PPM"), b"64", b"#\n" * MANY),
}


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("name", BOMBS)
def test_many_small_pieces_are_one_line(name):
    """Whatever a format lets a file repeat, a file that repeats it a million times is refused early."""
    with pytest.raises(BrokenImageError) as caught:
        decode(BOMBS[name](), SIZE, SIZE)
    assert str(caught.value) == TOO_MANY


HUGE = {
    "PNG": lambda: image("PNG")[:16] + struct.pack(">II", 60_000, 60_000) + image("PNG")[24:],
    "GIF": lambda: image("GIF")[:6] + struct.pack("<HH", 60_000, 60_000) + image("GIF")[10:],
    "WebP": lambda: image("WEBP", lossless=True)[:21] + b"\xfe\xbf\xff\x0f" + image("WEBP", lossless=True)[25:],
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_image_is_refused_before_it_is_decoded(name):
    """An image over the limit is one line, whether the COCO file lists its size or not."""
    with pytest.raises(BrokenImageError, match=f"60000 x 60000 pixels, and an image may have at most {LARGEST:,}"):
        decode(HUGE[name](), (60_000, 60_000), SIZE)
    with pytest.raises(BrokenImageError, match=r"expected 64 x 48 pixels, found \d{5} x \d{5}|can't be decoded"):
        decode(HUGE[name](), SIZE, SIZE)


WHOLE = [
    *(image(form) for form in ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")),
    image("JPEG", progressive=True, exif=b"Exif\0\0" + tiff([(0x112, 3, 1, 6), (0x8769, 4, 1, 8)])[:140]),
    image("WEBP", "RGBA", lossless=True),
    image("PNG", "L", compress_level=0),
    *(image("TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
]
CHANGE = st.tuples(st.integers(0, 2**31), st.integers(0, 6), st.binary(max_size=6))


def changed(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Replace a few bytes in a few places, most of them in the header."""
    for number, dropped, new in changes:
        at = number % (len(content) if number % 3 == 0 else min(len(content), 300) or 1)
        content = content[:at] + new + content[at + dropped :]
    return content


@pytest.mark.filterwarnings("ignore::Warning")
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(WHOLE), st.lists(CHANGE, min_size=1, max_size=4))
def test_a_changed_file_is_an_image_or_one_line(whole, changes):
    """Whatever a few changed bytes make of a file, the result has the right shape, or the error is one line."""
    try:
        pixels = decode(changed(whole, changes), SIZE, (32, 24))
    except BrokenImageError as error:
        reason = str(error)
    else:
        reason = ""
        assert (pixels.shape, pixels.dtype) == ((24, 32, 3), np.uint8)
    assert reason.isprintable()
    assert len(reason) < 300
