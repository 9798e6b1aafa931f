"""What a file's content must be, going by its name."""

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
def test_a_real_image_of_the_listed_size_passes_and_another_does_not(ending, kind):
    """Every format, by its own header, with the ending in either case."""
    check(image(kind), f"a{ending}", (20, 10))
    check(image(kind), f"A{ending.upper()}", (20, 10))
    with pytest.raises(WrongContentError, match="an image of 20 x 10 pixels, listed as 10 x 20"):
        check(image(kind), f"a{ending}", (10, 20))


@pytest.mark.parametrize(("ending", "kind"), FORMATS.items())
def test_an_image_of_another_format_does_not_pass(ending, kind):
    """A JPEG under the name of a PNG would be read by some programs and not by others."""
    other = "GIF" if kind == "PNG" else "PNG"
    with pytest.raises(WrongContentError, match=f"not a {kind.replace('WEBP', 'WebP')} file"):
        check(image(other), f"a{ending}")


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize(("ending", "kind"), FORMATS.items())
def test_a_header_that_is_cut_off_is_no_crash(ending, kind):
    """Where the size is not there yet it is refused; no parser's own error comes through, wherever it stops."""
    whole = image(kind)
    for length in range(len(whole)):
        with pytest.raises(WrongContentError) if length < 10 else contextlib.suppress(WrongContentError):
            check(whole[:length], f"a{ending}", (20, 10))


def test_a_png_must_have_its_end():
    """Every shorter form of it is cut off; bytes after the end do no harm, as some programs write them."""
    whole = png(30, 30)
    for cut in range(1, len(whole) - 8):
        with pytest.raises(WrongContentError, match="cut off"):
            check(whole[:-cut], "a.png")
    check(whole + b"and more", "a.png", (30, 30))


def test_a_large_image_is_looked_at_without_a_warning(recwarn):
    """Only the header is read; that 60,000 x 60,000 pixels would be much to decode is none of our business."""
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
def test_what_passes(name, content):
    """Files that are what they say, and those whose names say nothing."""
    check(content, name)


@pytest.mark.parametrize(
    "content", [b"<!doctype HTML>", b"\n\t<HTML lang=en>", b"\xef\xbb\xbf<!-- a --> <!-- b --><head>"]
)
def test_a_web_page_is_no_data(content):
    """In whichever way it begins."""
    with pytest.raises(WrongContentError, match="a web page instead of the file"):
        check(content, "a.csv")


def test_what_a_server_calls_a_web_page_is_one_if_it_looks_like_it():
    """The media type alone is no proof: many servers call everything text/html."""
    check(b"a,b\n", "a.csv", None, "text/html; charset=utf-8")
    with pytest.raises(WrongContentError, match="a web page"):
        check(b" <center>Not found", "a.csv", None, "text/html; charset=utf-8")


def test_no_content_makes_the_check_slow():
    """A thousand comments are looked through once."""
    started = time.perf_counter()
    check(b"<!---->" * 5000, "a.csv")
    check(b"<!--" * 5000, "a.csv")
    assert time.perf_counter() - started < 0.2
