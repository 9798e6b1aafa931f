"""The content of a file must fit its name."""

import contextlib
import io
import struct
import time

import pytest
from PIL import Image

from datapack.download.content import WrongContentError, check_content
from tests.servers import png

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}


def image(kind: str, size=(20, 10)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, kind)
    return out.getvalue()


def check(content: bytes, name: str, *arguments) -> None:
    check_content(io.BytesIO(content), name, *arguments)


@pytest.mark.parametrize(("ending", "kind"), FORMATS.items())
def test_only_an_image_of_the_listed_size_passes(ending, kind):
    """The size is read from the header of every format; the ending may be in upper or lower case."""
    check(image(kind), f"a{ending}", (20, 10))
    check(image(kind), f"A{ending.upper()}", (20, 10))
    with pytest.raises(WrongContentError, match="an image of 20 x 10 pixels, listed as 10 x 20"):
        check(image(kind), f"a{ending}", (10, 20))


@pytest.mark.parametrize(("ending", "kind"), FORMATS.items())
def test_image_of_another_format_does_not_pass(ending, kind):
    """Only some programs would read a JPEG file that is named .png."""
    other = "GIF" if kind == "PNG" else "PNG"
    with pytest.raises(WrongContentError, match=f"not a {kind.replace('WEBP', 'WebP')} file"):
        check(image(other), f"a{ending}")


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize(("ending", "kind"), FORMATS.items())
def test_truncated_header_does_not_crash(ending, kind):
    """A header without the size is refused; wherever it is cut off, no error of Pillow comes through."""
    whole = image(kind)
    for length in range(len(whole)):
        with pytest.raises(WrongContentError) if length < 10 else contextlib.suppress(WrongContentError):
            check(whole[:length], f"a{ending}", (20, 10))


def test_png_must_be_complete():
    """Every truncation is detected; bytes after the end are accepted, as some programs write them."""
    whole = png(30, 30)
    for cut in range(1, len(whole) - 8):
        with pytest.raises(WrongContentError, match="cut off"):
            check(whole[:-cut], "a.png")
    check(whole + b"and more", "a.png", (30, 30))


def test_large_image_is_checked_without_a_warning(recwarn):
    """Only the header is read, so it does not matter how much 60,000 x 60,000 pixels would be to decode."""
    small = image("GIF")
    large = small[:6] + struct.pack("<HH", 60_000, 60_000) + small[10:]
    check(large, "a.gif", (60_000, 60_000))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'{"a": 1}'),
        ("a.json", b"\xef\xbb\xbf\n [1]"),
        ("a.json", b"null"),
        ("a.zip", b"PK\x05\x06" + bytes(18)),
        ("a.csv", b"a,b\n<1,2\n"),
        ("a.txt", b"<notes> html is a language"),
        ("a.html", b"<!DOCTYPE html><html></html>"),
        ("a.unknown", b""),
        ("noending", bytes(100)),
    ],
)
def test_content_that_passes(name, content):
    """Content that fits its name passes, and so does any content under a name that says nothing."""
    check(content, name)


@pytest.mark.parametrize(
    "content", [b"<!doctype HTML>", b"\n\t<HTML lang=en>", b"\xef\xbb\xbf<!-- a --> <!-- b --><head>"]
)
def test_web_page_is_refused(content):
    """A web page is recognised however it begins."""
    with pytest.raises(WrongContentError, match="a web page instead of the file"):
        check(content, "a.csv")


def test_media_type_html_counts_only_for_markup():
    """Many servers send text/html for everything, so the content must look like markup too."""
    check(b"a,b\n", "a.csv", None, "text/html; charset=utf-8")
    with pytest.raises(WrongContentError, match="a web page"):
        check(b" <center>Not found", "a.csv", None, "text/html; charset=utf-8")


def test_no_content_makes_the_check_slow():
    """Thousands of comments take only one pass."""
    started = time.perf_counter()
    check(b"<!---->" * 5000, "a.csv")
    check(b"<!--" * 5000, "a.csv")
    assert time.perf_counter() - started < 0.2
