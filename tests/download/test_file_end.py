"""A file that was cut off is told from a complete one, whatever the complete one holds.

Each file here holds what looks like the end of its format. It is cut at every byte.
"""

import io
import json
import struct
import time
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datapack.download import file_end
from datapack.download.content import WrongContentError, check_content
from datapack.download.file_end import has_end
from tests.servers import png

ENDINGS = {"PNG": ".png", "GIF": ".gif", "JPEG": ".jpg", "WebP": ".webp", "ZIP": ".zip", "JSON": ".json"}


def image(kind, size=(40, 30), **options):
    out = io.BytesIO()
    Image.effect_noise(size, 90).convert("P" if kind == "GIF" else "RGB").save(out, kind, **options)
    return out.getvalue()


def frames(kind):
    return image(kind, save_all=True, append_images=[Image.effect_noise((40, 30), 90) for _ in range(3)])


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def in_a_scan(between, number=3, **options):
    """A JPEG with ``between`` in front of one of its later scans."""
    content = image("JPEG", progressive=True, **options)
    parts = content.split(b"\xff\xda")
    return b"\xff\xda".join(parts[:number]) + between + b"\xff\xda" + b"\xff\xda".join(parts[number:])


def archive(contents, comment=b"", front=b"", **options):
    out = io.BytesIO(front)
    with zipfile.ZipFile(out, "a", **options) as opened:
        for number, content in enumerate(contents):
            opened.writestr(f"{number}.zip", content)
        opened.comment = comment
    return out.getvalue()


def of_many_entries(contents):
    """An archive with ZIP64 records, although its numbers would fit without them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        return archive(contents)


def far_on(contents):
    """An archive whose offsets need ZIP64 records, as far as its program knows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 100)
        return archive(contents)


IN_IT = [archive(["a" * 200]), archive([]), archive(["b" * 100, "c"], comment=b"last"), of_many_entries(["d", "e"])]
MADE_UP_END = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
COLORS = b"!\xfe" + b"\xff" + b";" * 255 + b"\x05;\0;\0;" + b"\0"  # a comment of a GIF
THUMBNAIL = b"Exif\0\0" + image("JPEG", (8, 6))
GIF = image("GIF")
PNG = png(20, 20)

FILES = {
    "PNG": ("PNG", PNG),
    "PNG in a chunk": ("PNG", PNG[:33] + chunk(b"prVt", b"x" + PNG + b"y") + PNG[33:]),
    "PNG in chunks": ("PNG", PNG[:33] + chunk(b"prVt", PNG) * 3 + chunk(b"teXt", b"IEND\xaeB`\x82") + PNG[33:]),
    "animated PNG": ("PNG", frames("PNG")),
    "GIF": ("GIF", GIF),
    "GIF with a comment": ("GIF", GIF[: GIF.rindex(b",\0\0\0\0")] + COLORS + GIF[GIF.rindex(b",\0\0\0\0") :]),
    "GIF with a comment at its end": ("GIF", GIF[:-1] + COLORS + b"\0\0;"),
    "animated GIF": ("GIF", frames("GIF")),
    "JPEG": ("JPEG", image("JPEG")),
    "progressive JPEG": ("JPEG", image("JPEG", progressive=True)),
    "JPEG with restarts": ("JPEG", image("JPEG", restart_marker_blocks=1)),
    "JPEG with a thumbnail": ("JPEG", b"\xff\xd8\xff\xff" + segment(0xE1, THUMBNAIL) + image("JPEG")[2:]),
    "JPEG with a thumbnail between scans": ("JPEG", in_a_scan(segment(0xE1, THUMBNAIL))),
    "JPEG with a comment between scans": ("JPEG", in_a_scan(b"\xff\xff" + segment(0xFE, b"\xff\xd9x\xff\xd9"), 2)),
    "JPEG with tables between scans": ("JPEG", in_a_scan(segment(0xDB, b"\3" + b"\xff\xd9" * 32), 4)),
    "JPEG whose comment ends where an end begins": ("JPEG", in_a_scan(segment(0xFE, b"\xff"), 2)),
    "WebP": ("WebP", image("WEBP")),
    "WebP with a WebP": ("WebP", image("WEBP", exif=b"Exif\0\0" + image("WEBP", (8, 6)))),
    "ZIP": ("ZIP", archive(["a", "b"])),
    "ZIP of ZIPs": ("ZIP", archive(IN_IT)),
    "ZIP with a comment": ("ZIP", archive(IN_IT[:2], comment=b"PK\5\6" + b"x" * 100 + MADE_UP_END)),
    "ZIP64": ("ZIP", of_many_entries(IN_IT)),
    "ZIP64 with offsets": ("ZIP", far_on(IN_IT)),
    "ZIP with a name like an end": ("ZIP", archive(["a"]).replace(b"0.zip", b"PK\5\6p")),
    "JSON": ("JSON", rb'{"a": [{"b": "}]"}, {"c\\": "\"]}"}], "d": []}'),
    "JSON array": ("JSON", json.dumps([{"id": n, "text": "[{" * n} for n in range(9)], indent=1).encode()),
    "empty ZIP": ("ZIP", archive([])),
    "empty ZIP with a comment": ("ZIP", archive([], comment=b"nothing")),
}


def accepted(content, form, **options):
    try:
        check_content(io.BytesIO(content), f"a{ENDINGS[form]}", length_known=False, **options)
    except WrongContentError:
        return False
    return True


@pytest.mark.parametrize(("form", "content"), FILES.values(), ids=FILES)
def test_no_cut_passes_and_every_complete_file_does(form, content):
    """What some program wrote after the end does not matter."""
    assert [cut for cut in range(len(content)) if accepted(content[:cut], form)] == []
    for more in (b"", bytes(50), b"\r\n", b"PK\5\6\xff\xd9;", b"x" * 1000):
        assert accepted(content + more, form)


def test_a_png_in_a_png_does_not_end_it_whatever_the_length():
    """A PNG is also searched for its end if its length was announced."""
    content = FILES["PNG in a chunk"][1]
    ends = content.index(b"IEND") + 8
    for cut in (*range(ends), *range(ends + 1, len(content))):
        with pytest.raises(WrongContentError, match=r"cut off|not a PNG|empty"):
            check_content(io.BytesIO(content[:cut]), "a.png")
    check_content(io.BytesIO(content + bytes(50)), "a.png")


def test_two_images_in_a_jpeg():
    """The first of an MPO file is a whole JPEG; the others stand after its end."""
    assert accepted(frames("MPO"), "JPEG")


def test_an_archive_over_4_gib_without_zip64(tmp_path):
    """Some programs write only the last 32 bits of its numbers."""
    whole, path = archive(["a"]), tmp_path / "a.zip"
    at = whole.index(b"PK\1\2")
    directory = whole[at:-22]
    offset = (1 << 32) + 5000
    with path.open("wb") as file:
        file.write(whole[:at])
        file.seek(offset)
        file.write(directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), 5000, 0))
    with path.open("r+b") as file:
        assert has_end(file, "ZIP")
        file.truncate(offset + len(directory))
        assert not has_end(file, "ZIP")


@pytest.mark.parametrize("change", [b"\xff\xc4\xff\xff", b"\xff\xf1\xff\xff", b"\xff\x20", b"\xff\x02\xff\xff"])
def test_a_jpeg_with_damaged_data_that_has_its_end(change):
    """A decoder shows it; the damage may look like a segment."""
    content = image("JPEG")
    damaged = content[:-40] + change + content[-40:]
    assert accepted(damaged, "JPEG")
    assert not accepted(damaged[:-1], "JPEG")


@pytest.mark.parametrize("name", ["animated PNG", "animated GIF"])
def test_a_file_of_very_many_parts_needs_its_end_last(monkeypatch, name):
    """Beyond a fixed number of them nobody goes through it."""
    form, content = FILES[name]
    monkeypatch.setattr(file_end, "_MOST_PARTS", 3)
    assert accepted(content, form)
    assert not accepted(content[:-1], form)
    assert not accepted(content + b"x", form)


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("PNG", PNG[:33] + b"\0\0\0\0teXt\xaa\xbb\xcc\xdd" * 2_000_000),
        ("GIF", GIF[:13] + b"!\0\0" * 8_000_000),
        ("GIF", GIF[:13] + b"!\0" + b"\1x" * 12_000_000),
        ("JPEG", image("JPEG")[:-2] + b"\xff\xfe\0\2" * 6_000_000),
        ("JPEG", image("JPEG")[:-2] + b"\xff\0" * 12_000_000),
        ("JPEG", image("JPEG")[:-2] + b"\xff" * 24_000_000),
        ("ZIP", archive(["a"])[:-22] + b"PK\5\6" * 500_000),
        ("ZIP", archive(["a"])[:-22] + (b"PK\6\7" + bytes(16) + MADE_UP_END) * 50_000),
    ],
    ids=["chunks", "blocks", "sub-blocks", "segments", "data", "fill bytes", "records", "locators"],
)
def test_no_content_takes_long(form, content):
    """One pass at most, with few steps."""
    began = time.monotonic()
    assert not accepted(content, form)
    assert time.monotonic() - began < 8


@st.composite
def damaged(draw):
    """A file with a few bytes taken away, put in or cut off."""
    form, content = draw(st.sampled_from([*FILES.values()]))
    for _ in range(draw(st.integers(0, 4))):
        at, gone = draw(st.integers(0, len(content))), draw(st.integers(0, 50))
        content = content[:at] + draw(st.binary(max_size=30)) + content[at + gone :]
    return form, content[: draw(st.integers(0, len(content)) | st.just(len(content)))]


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(damaged() | st.tuples(st.sampled_from([*ENDINGS]), st.binary(max_size=200)), st.booleans())
def test_any_bytes_have_a_result(tmp_path_factory, pair, known):
    """In memory and on the disk, where other seeks fail."""
    form, content = pair
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    with path.open("rb") as file:
        found = has_end(file, form, length_known=known)
        assert found == has_end(io.BytesIO(content), form, length_known=known)


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(), st.data())
def test_a_file_that_is_accepted_has_one_end(pair, data):
    """A cut passes only beyond it: then everything that is longer passes as well."""
    form, content = pair
    cut = data.draw(st.integers(0, len(content)))
    if form in {"PNG", "GIF"} and accepted(content[:cut], form):
        assert accepted(content, form)


def test_of_a_very_large_json_file_the_end_is_checked(monkeypatch):
    """It is not read into memory."""
    monkeypatch.setattr(file_end, "_LARGEST_JSON", 10)
    content = b'{"images": [{"id": 1, "name": "a"}]}\n'
    assert accepted(content, "JSON")
    assert not accepted(content[:-6], "JSON")
