"""The size of an image is read from its header, as Pillow reads it, and no header takes long."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from datapack.download.content import WrongContentError, check_content
from datapack.download.image_size import image_size

FORMS = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "TIFF": ".tif", "WebP": ".webp"}


def image(form: str, size=(64, 48), mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "teal" if mode == "RGB" else None).save(out, form, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


VARIANTS = [
    *(
        ("JPEG", {"progressive": True, "exif": exif(6), "icc_profile": bytes(200_000)}),
        ("JPEG", {"comment": b"x" * 999}),
    ),
    *(("JPEG", {"mode": "L"}), ("JPEG", {"mode": "CMYK"}), ("PNG", {"mode": "1"}), ("PNG", {"exif": exif(6)})),
    *(("TIFF", {"exif": exif(number)}) for number in range(1, 9)),
    *(("TIFF", {"compression": name}) for name in ("tiff_lzw", "jpeg", "packbits")),
    *(("TIFF", {"big_tiff": True}), ("TIFF", {"mode": "I;16"}), ("TIFF", {"mode": "I;16B"})),
    *(("WebP", {"lossless": True}), ("WebP", {"mode": "RGBA"}), ("WebP", {"exif": exif(3)}), ("WebP", {"quality": 5})),
    *(("GIF", {"comment": b"x" * 999}), ("GIF", {"save_all": True, "append_images": [Image.new("RGB", (64, 48))]})),
]


@pytest.mark.parametrize(
    ("form", "options"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
@pytest.mark.parametrize("size", [(64, 48), (1, 1), (1, 300), (700, 3)], ids=str)
def test_it_is_the_size_that_pillow_finds(form, options, size):
    """Every form of every format gives the size of Pillow, which turns a TIFF that is stored on its side."""
    content = image(form, size, **options)
    with Image.open(io.BytesIO(content)) as opened:
        assert image_size(io.BytesIO(content), form) == opened.size


class Counted(io.BytesIO):
    """A file that counts how often it is read, and how much."""

    reads = amount = 0

    def read(self, count=-1):
        found = super().read(count)
        self.reads += 1
        self.amount += len(found)
        return found


def with_tags(count: int) -> bytes:
    tags = b"".join(struct.pack("<HHII", tag, 7, 40_000_000, 8) for tag in range(300, 300 + count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags


MANY = 500_000
ENDLESS = {
    "segments": ("JPEG", image("JPEG")[:2] + b"\xff\xee\0\2" * MANY + image("JPEG")[2:]),
    "fill bytes": ("JPEG", image("JPEG")[:2] + b"\xff" * MANY),
    "other bytes": ("JPEG", image("JPEG")[:3] + bytes(MANY)),
    "tags": ("TIFF", with_tags(60_000)),
    "a directory nowhere": ("TIFF", b"II*\0\xff\xff\xff\xff"),
    "a huge BigTIFF": ("TIFF", b"II+\0\x08\0\0\0" + b"\xff" * 40),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_header_is_refused(name):
    """A header of very many segments, bytes or tags is refused after a limited number of short reads."""
    form, content = ENDLESS[name]
    file = Counted(content)
    with pytest.raises(ValueError, match=r"no size before the pixels|no size among the tags"):
        image_size(file, form)
    assert file.reads < 100_000
    assert file.amount < 200_000
    with pytest.raises(WrongContentError, match=f"not a readable {form} file"):
        check_content(io.BytesIO(content), f"a{FORMS[form]}", (64, 48))


@pytest.mark.parametrize("form", FORMS)
def test_metadata_before_the_size_is_skipped(form):
    """The chunks, tags and comments around the size are not read: a file costs a few reads of a few bytes."""
    file = Counted(image(form, exif=exif(1)) if form != "GIF" else image(form))
    assert image_size(file, form) == (64, 48)
    assert file.amount < 1000


def test_a_webp_over_pillows_limit_is_compared_by_its_size():
    """A WebP image of 16,383 x 16,383 pixels has that size; Pillow refuses to open it."""
    small = image("WebP", lossless=True)
    large = small[:21] + struct.pack("<I", 16382 | 16382 << 14) + small[25:]
    check_content(io.BytesIO(large), "a.webp", (16383, 16383))
    with pytest.raises(WrongContentError, match="an image of 16383 x 16383 pixels, listed as 1 x 1"):
        check_content(io.BytesIO(large), "a.webp", (1, 1))


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=8)), max_size=5))
def test_any_header_is_a_size_or_an_error(form, changes):
    """Whatever a few changed bytes make of a header, there is a size or a `ValueError`."""
    content = image(form)
    for at, new in changes:
        content = content[:at] + new + content[at + len(new) :]
    try:
        width, height = image_size(io.BytesIO(content), form)
    except ValueError:
        return
    assert width >= 0
    assert height >= 0


def test_pillow_is_not_needed(monkeypatch):
    """No parser of Pillow sees a downloaded file."""
    monkeypatch.setattr(ImageFile.ImageFile, "__init__", None)
    content = image("PNG")
    check_content(io.BytesIO(content), "a.png", (64, 48))
