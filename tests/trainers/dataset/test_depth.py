"""Pixels of every depth keep their brightness, or are refused by name: never all white or all black without a word."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.trainers.dataset.test_decode import RGB, make_png
from trainers.dataset.decode import BrokenImageError, Remark, decode

SIZE = (4, 2)
GREY = np.array([[0, 16, 32, 64], [96, 128, 192, 255]])  # of 8 bits


def tiff(values, bits: int, *, kind=1, white_is_zero=False, order="<") -> bytes:
    """Write a TIFF of one uncompressed strip; ``kind`` is its sample format: 1 unsigned, 2 signed, 3 fractions."""
    if bits == 12:
        pairs = values.reshape(-1, 2).tolist()
        strip = b"".join(struct.pack(">I", (a << 12 | b) << 8)[:3] for a, b in pairs)
    else:
        letter = {1: "u", 2: "i", 3: "f"}[kind]
        strip = values.astype(f"{order}{letter}{bits // 8}").tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 0 if white_is_zero else 1}
    tags |= {273: 8 + 2 + 12 * 10 + 4, 277: 1, 278: height, 279: len(strip), 339: kind}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(tags))
    return header + entries + b"\0\0\0\0" + strip


def saved(values, form: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, form)
    return out.getvalue()


def looked_at(content: bytes):
    """Decode an image; return one of its three equal channels, and what was remarked."""
    remarks = []
    pixels = decode(content, SIZE, SIZE, remark=remarks.append)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0], remarks


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (16, 257)])
def test_grey_tiffs_keep_their_brightness(bits, factor, order):
    """8 bits stay, and 16 keep the upper 8, in either byte order."""
    grey, remarks = looked_at(tiff(GREY * factor, bits, order=order))
    assert (grey == GREY).all()
    assert not remarks


def test_a_tiff_of_12_bits_is_scaled():
    """A TIFF that declares 12 bits keeps the upper 8 of them."""
    grey, remarks = looked_at(tiff(GREY * 16 + 5, 12))
    assert (grey == GREY).all()
    assert not remarks


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_in_which_white_is_zero_is_inverted(bits):
    """Of 16 bits Pillow gives the negative; it is no negative here."""
    grey, _ = looked_at(tiff((255 - GREY) * (257 if bits == 16 else 1), bits, white_is_zero=True))
    assert (grey == GREY).all()


@pytest.mark.parametrize("kind", ["signed 16", "unsigned 32", "signed 32", "fractions"])
def test_pixels_without_a_fixed_range_are_refused(kind):
    """Whole numbers of 32 bits, signed ones and fractions are refused by name: they were all white or all black."""
    content = {
        "signed 16": tiff(GREY * 100, 16, kind=2),
        "unsigned 32": tiff(GREY * 1000, 32),
        "signed 32": tiff(GREY, 32, kind=2),
        "fractions": tiff(GREY / 255, 32, kind=3),
    }[kind]
    mode = "F" if kind == "fractions" else "I"
    with pytest.raises(
        BrokenImageError, match=rf"its pixels are .* \(mode {mode}\), which have no fixed range: convert"
    ):
        looked_at(content)


def test_a_ppm_of_16_bits_keeps_its_brightness():
    """Pillow scales the numbers of a PPM to 16 bits, whatever its largest one is."""
    body = b" ".join(b"%d" % round(value / 255 * 1000) for value in GREY.flat)
    grey, _ = looked_at(b"P2 4 2 1000\n" + body)
    assert np.abs(grey.astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("form", ["tiff", "png"])
@pytest.mark.parametrize("channels", [1, 3])
def test_12_bits_in_16_are_remarked(form, channels):
    """An image of 16 bits without a value above 4095 comes out almost black, which is said; a higher one is enough."""
    if channels == 3:
        values = np.repeat((GREY * 16).astype(">u2")[..., None], 3, axis=2)
        make = rgb16_tiff if form == "tiff" else rgb16_png
    else:
        values, make = (GREY * 16 + 15).astype(np.uint16), lambda values: saved(values, form)
    assert looked_at(make(values))[1] == [Remark.DARK]
    brighter = values.copy()
    brighter[0, 0] = 4096
    assert looked_at(make(brighter))[1] == []


def rgb16_png(values) -> bytes:
    return make_png(values, RGB, 16)


def rgb16_tiff(values) -> bytes:
    strip = values.astype("<u2").tobytes()
    height, width = values.shape[:2]
    tags = {256: width, 257: height, 259: 1, 262: 2, 273: 8 + 2 + 12 * 9 + 4 + 6, 277: 3, 278: height, 279: len(strip)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries.insert(2, struct.pack("<HHII", 258, 3, 3, 8 + 2 + 12 * 9 + 4))
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 9)
        + b"".join(entries)
        + b"\0\0\0\0"
        + struct.pack("<3H", 16, 16, 16)
        + strip
    )


@pytest.mark.parametrize("colour", [0, 255, (10, 200, 30)])
def test_an_image_of_one_colour_is_remarked(colour):
    """An image that shows nothing is used, and said; a single other pixel is enough."""
    values = np.full((40, 40, 3), colour, np.uint8)
    remarks = []
    decode(saved(values, "png"), (40, 40), (40, 40), remark=remarks.append)
    assert remarks == [Remark.PLAIN]
    values[39, 38] = 128
    decode(saved(values, "png"), (40, 40), (40, 40), remark=remarks.append)
    assert remarks == [Remark.PLAIN]
