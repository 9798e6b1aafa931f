"""The images of a bag: their size, what their metadata tells, and why they can't be read. No pixel is decoded."""

import io
import os
import struct
import time
import warnings
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from datapack.bag.bagit import Bag
from datapack.inspect.forms import READABLE
from datapack.inspect.images import read_images
from datapack.progress import Silent
from tests.bags import write_bag
from trainers.dataset import decode

ORIENTATION, ARTIST, EXIF, GPS = 0x0112, 0x013B, 0x8769, 0x8825
FORMS = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "TIFF": "tif", "WebP": "webp", "BMP": "bmp", "PPM": "ppm"}
PERSONAL_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description aux:SerialNumber="123" tiff:Orientation="6">'
    b"<dc:creator><rdf:Seq><rdf:li>A. Diver</rdf:li></rdf:Seq></dc:creator><exif:GPSLatitude>9,1N</exif:GPSLatitude>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)
EMPTY_XMP = (
    b'<rdf:Description aux:SerialNumber=""><dc:creator><rdf:Seq/></dc:creator><tiff:Artist/>'
    b"<tiff:Artist></tiff:Artist>Nikon</rdf:Description>"
)


def encode(form="JPEG", size=(64, 48), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size).save(out, {"JPEG 2000": "JPEG2000"}.get(form, form), **options)
    return out.getvalue()


def exif(orientation=6, artist="A. Diver", serial="4711", *, position=True):
    """EXIF data as a camera writes it."""
    found = Image.Exif()
    found[ORIENTATION] = orientation
    if artist:
        found[ARTIST] = artist
    camera = found.get_ifd(EXIF)
    if serial:
        camera[0xA431] = serial
    if position:
        found.get_ifd(GPS).update({1: "N", 2: (9.0, 12.0, 30.5), 3: "W", 4: (79.0, 50.0, 1.0)})
    return found


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def after_pixels(png, kind, content):
    """Add a chunk behind the pixels of a PNG."""
    return png[:-12] + chunk(kind, content) + png[-12:]


@pytest.fixture
def read(tmp_path):
    """Return a function that makes a bag of some files, and returns its images by path."""

    def read(**files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        write_bag(folder, {name.replace("__", "."): content for name, content in files.items()})
        images = read_images(Bag.open(folder), Silent())
        assert [image.path for image in images] == sorted(image.path for image in images)
        return {image.path: image for image in images}

    return read


@pytest.mark.parametrize("form", [*FORMS, "JPEG 2000", "AVIF"])
def test_form_and_size_of_each_form(read, form):
    """Every form that the trainers decode is known, by its content and not by its name."""
    name = "x.ppm" if form == "PPM" else "x.jpg"  # the two first bytes of a PPM are too few to know it by
    images = read(**{name.replace(".", "__"): encode(form), "y__tar__gz": encode(form), "z__txt": b"no image"})
    assert images[name].form == form
    assert (images[name].width, images[name].height, images[name].problem) == (64, 48, "")
    assert ("y.tar.gz" in images) == (form != "PPM")
    assert "z.txt" not in images


def test_the_trainers_decode_what_is_called_readable():
    """Both lists are the same, in two spellings."""
    spelt = {"JPEG 2000": "JPEG2000", "WebP": "WEBP"}
    assert {spelt.get(form, form) for form in READABLE} == decode._FORMATS


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "TIFF"])
def test_orientation_position_and_names(read, form):
    """A size is as stored, even of a TIFF; positions and names are found in every form that has EXIF data."""
    image = read(a=encode(form, exif=exif().tobytes()))["a"]
    assert (image.width, image.height, image.orientation, image.shown_size) == (64, 48, 6, (48, 64))
    assert image.has_position
    assert image.identifying == ("Artist", "BodySerialNumber")
    plain = read(a=encode(form))["a"]
    assert (plain.orientation, plain.has_position, plain.identifying) == (1, False, ())


def test_metadata_in_forms_whose_parts_are_not_followed(read):
    """Phones write HEIC, with positions; the trainers can't read it, but it must not go unnoticed."""
    data = exif(1).tobytes().removeprefix(b"Exif\0\0")
    heic = b"\0\0\0\x1cftypheic" + os.urandom(2_000_000) + b"\0\0\0\6Exif\0\0" + data + os.urandom(50_000)
    images = read(a__heic=heic, b__avif=encode("AVIF", exif=exif(1)), c__avif=encode("AVIF"))
    for path in ("a.heic", "b.avif"):
        assert (images[path].has_position, images[path].identifying) == (True, ("Artist", "BodySerialNumber"))
    assert (images["c.avif"].has_position, images["c.avif"].identifying) == (False, ())


def test_values_that_say_nothing_are_no_finding(read):
    """Blank names, and a position of 0/0, which cameras without a receiver write."""
    content = exif(1, "        ", "").tobytes()
    for whole, part in ((9, 1), (12, 1), (61, 2), (79, 1), (50, 1), (1, 1)):
        assert content.count(struct.pack(">II", whole, part)) == 1
        content = content.replace(struct.pack(">II", whole, part), bytes(8))
    image = read(a=encode(exif=content))["a"]
    assert (image.orientation, image.has_position, image.identifying) == (1, False, ())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "TIFF"])
def test_xmp(read, form):
    """XMP has the same facts; empty fields are none."""
    options = {"pnginfo": PngImagePlugin.PngInfo()} if form == "PNG" else {"xmp": PERSONAL_XMP}
    if form == "TIFF":
        options = {"tiffinfo": {700: PERSONAL_XMP}}
    if form == "PNG":
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", PERSONAL_XMP.decode(), zip=True)
    image = read(a=encode(form, **options))["a"]
    assert (image.orientation, image.has_position, image.identifying) == (6, True, ("Creator", "SerialNumber"))
    image = read(a=encode("JPEG", xmp=EMPTY_XMP))["a"]
    assert (image.orientation, image.has_position, image.identifying) == (1, False, ())


def test_png_metadata_behind_the_pixels(read):
    """eXIf and texts count wherever they stand; Pillow would decode all pixels to find them."""
    png = encode("PNG")
    image = read(a=after_pixels(png, b"eXIf", exif().tobytes().removeprefix(b"Exif\0\0")))["a"]
    assert (image.orientation, image.has_position) == (6, True)
    assert image.identifying == ("Artist", "BodySerialNumber")
    image = read(a=after_pixels(png, b"tEXt", b"Author\0A. Diver"))["a"]
    assert image.identifying == ("Author",)
    raw = exif().tobytes()
    profile = b"\nexif\n    %d\n%s\n" % (len(raw), raw.hex().encode())
    image = read(a=after_pixels(png, b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)))["a"]
    assert (image.orientation, image.has_position) == (6, True)


@pytest.mark.parametrize("length", [1, 7, 100, 8192, 10**6])
def test_metadata_behind_any_number_of_pieces_of_pixels(read, length):
    """Most programs divide the pixels into pieces of one length, which need not all be visited."""
    png = noise("PNG")
    start = png.index(b"IDAT") + 4
    pixels = png[start : start + int.from_bytes(png[start - 8 : start - 4], "big")]
    pieces = b"".join(chunk(b"IDAT", pixels[at : at + length]) for at in range(0, len(pixels), length))
    late = chunk(b"tEXt", b"Author\0A. Diver") + chunk(b"IEND", b"")
    image = read(a=png[:33] + pieces + late)["a"]
    assert (image.identifying, image.problem) == (("Author",), "")


def test_iptc_by_line(read):
    """IPTC data in a JPEG names who took it."""
    data = b"\x1c\x02\x50\0\x08A. Diver"
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data
    jpeg = encode()
    segment = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    assert read(a=jpeg[:2] + segment + jpeg[2:])["a"].identifying == ("By-line",)


def test_serial_numbers_in_the_notes_of_makers(read):
    """Canon and Nikon keep the serial number of a camera in notes of their own."""
    nikon = b"Nikon\0\x02\x10\0\0" + b"MM\0*\0\0\0\x08" + struct.pack(">HHHI4s", 1, 29, 2, 4, b"123\0") + bytes(4)
    data = Image.Exif()
    data.get_ifd(EXIF)[0x927C] = nikon
    assert read(a=encode(exif=data))["a"].identifying == ("SerialNumber",)
    # by hand, as the places in Canon's notes count from the start of the EXIF data
    notes = struct.pack("<HHHI4s", 1, 9, 2, 4, b"Bob\0") + bytes(4)
    canon = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, EXIF, 4, 1, 26, 0)
    canon += struct.pack("<HHHIII", 1, 0x927C, 7, len(notes), 44, 0) + notes
    assert read(a=encode(exif=b"Exif\0\0" + canon))["a"].identifying == ("OwnerName",)


TRAITS = [
    ("PNG", "RGB", {}, ()),
    ("PNG", "RGBA", {}, ("alpha",)),
    ("PNG", "I;16", {}, ("16 bits",)),
    ("PNG", "P", {"transparency": 0}, ("alpha",)),
    ("JPEG", "CMYK", {}, ("CMYK",)),
    ("JPEG", "L", {}, ()),
    ("TIFF", "F", {}, ("fractions",)),
    ("TIFF", "I", {}, ("32-bit or signed numbers",)),
    ("TIFF", "I;16", {}, ("16 bits",)),
    ("TIFF", "CMYK", {}, ("CMYK",)),
    ("WebP", "RGBA", {"lossless": False, "exact": True}, ("alpha",)),
]


@pytest.mark.parametrize(("form", "mode", "options", "traits"), TRAITS)
def test_traits(read, form, mode, options, traits):
    """What trainers drop, scale or refuse is known from the header."""
    if form == "WebP":
        options["exif"] = exif()  # Pillow then writes the extended form, whose flags tell of alpha
    assert read(a=encode(form, mode=mode, **options))["a"].traits == traits


@pytest.mark.parametrize("form", ["GIF", "PNG", "WebP"])
def test_animated(read, form):
    """Trainers take the first frame only."""
    more = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    assert "animated" in read(a=encode(form, save_all=True, append_images=more, loop=0))["a"].traits


def noise(form, **options):
    out = io.BytesIO()
    Image.effect_noise((200, 150), 50).convert("RGB").save(out, form, **options)
    return out.getvalue()


def png_start(side=9):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))


BROKEN = [
    ("a.jpg", b"", "an empty file"),
    ("a.nef", b"", "an empty file"),
    ("a.jpg", b"<!DOCTYPE html><html><title>404</title></html>", "a web page instead of the file"),
    ("a.cr2", b"<html><body>please log in", "a web page instead of the file"),
    ("a.png", b"hello", "not a PNG file"),
    ("a.jpg", noise("JPEG")[:-1000], "a JPEG file that is cut off"),
    ("a.png", noise("PNG")[:-1000], "a PNG file that is cut off"),
    ("a.gif", noise("GIF")[:-1000], "a GIF file that is cut off"),
    ("a.webp", noise("WEBP")[:-1000], "a WebP file that is cut off"),
    ("a.tif", noise("TIFF")[:-1000], "a TIFF file that is cut off"),
    ("a.tif", noise("TIFF", compression="tiff_lzw")[:30], "the header of this TIFF file is broken"),
    (
        "a.png",
        png_start(60_000) + chunk(b"IEND", b""),
        "60,000 x 60,000 pixels, and an image may have at most 178,956,970",
    ),
    ("a.bmp", encode("BMP")[:20], "the header of this BMP file is broken"),
    ("a.bmp", encode("BMP")[:10], "not a BMP file"),
    ("a.ppm", b"P6\n60000 60000\n255\n", "more pixels than the 178,956,970 that an image may have"),
    ("a.jp2", encode("JPEG 2000")[:40], "the header of this JPEG 2000 file is broken"),
]


@pytest.mark.parametrize(("name", "content", "problem"), BROKEN)
def test_broken_images(tmp_path, name, content, problem):
    """Each says what is wrong with it; nothing is raised."""
    write_bag(tmp_path, {name: content})
    (image,) = read_images(Bag.open(tmp_path), Silent())
    assert (image.path, image.form, image.width, image.height) == (name, "", 0, 0)
    assert image.problem.startswith(problem)


def test_forms_that_are_only_known_by_name(read):
    """Nobody can tell from its first bytes that a file is no Targa."""
    images = read(
        a__tga=b"\0\0\2", b__nii__gz=b"\x1f\x8b\x08", c__nef=encode("TIFF", exif=exif().tobytes()), d__svg=b"<svg/>"
    )
    assert {path: image.form for path, image in images.items()} == {
        "a.tga": "Targa",
        "b.nii.gz": "NIfTI",
        "c.nef": "camera raw",
        "d.svg": "SVG",
    }
    assert images["c.nef"].has_position


def test_a_file_that_is_gone_is_a_problem(tmp_path):
    """It was there when the bag was opened; a link in its place is not followed."""
    write_bag(tmp_path, {"a.png": encode("PNG"), "b.png": encode("PNG")})
    bag = Bag.open(tmp_path)
    (tmp_path / "data/a.png").unlink()
    (tmp_path / "data/b.png").unlink()
    (tmp_path / "data/b.png").symlink_to("/dev/zero")
    gone, link = read_images(bag, Silent())
    assert gone.problem == "can't be read: No such file or directory"
    assert link.problem == "can't be read: a link"


MAGIC = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"RIFFxxxxWEBPVP8X"),
    *(b"BM", b"P6 ", b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x1cftypavif", b"\xff\xd8\xff\xe1\0\xffExif\0\0II*\0"),
)


@given(st.sampled_from(MAGIC), st.binary(max_size=2000), st.sampled_from(["a.png", "a.jpg", "a.ppm", "a.dng", "a"]))
@settings(max_examples=400, deadline=2000)
def test_arbitrary_bytes_never_raise(tmp_path_factory, magic, content, name):
    """Whatever follows a valid beginning, there is an answer, soon, and no warning."""
    folder = tmp_path_factory.mktemp("bag")
    write_bag(folder, {name: magic + content})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in read_images(Bag.open(folder), Silent()):
            assert bool(image.form) != bool(image.problem)


SEEDS = [encode(form, exif=exif()) for form in ("JPEG", "PNG", "WebP", "TIFF")] + [encode("GIF"), encode("BMP")]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(8, 3000), st.integers(0, 255)), max_size=8))
@settings(max_examples=400, deadline=2000)
def test_changed_bytes_never_raise(tmp_path_factory, seed, changes):
    """Real files with a few other bytes reach further into the readers than arbitrary ones."""
    content = bytearray(seed)
    for at, value in changes:
        content[at % len(content)] = value
    folder = tmp_path_factory.mktemp("bag")
    write_bag(folder, {"a.jpg": bytes(content)})
    (image,) = read_images(Bag.open(folder), Silent())
    assert bool(image.form) != bool(image.problem)


XMP = b"\xff\xe1\xff\xffhttp://ns.adobe.com/xap/1.0/\0"
HOSTILE = {
    "half a million empty chunks": png_start() + chunk(b"teSt", b"") * 500_000,
    "texts that unpack to gigabytes": png_start()
    + chunk(b"zTXt", b"Author\0\0" + zlib.compress(bytes(100 << 20))) * 100
    + chunk(b"IEND", b""),
    "a directory that counts itself": b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", EXIF, 4, 1, 8) * 4000,
    "XMP of openings": b"\xff\xd8" + (XMP + b"<dc:creator><rdf:li>" * 3300)[:65537] * 15 + b"\xff\xd9",
    "XMP of names": b"\xff\xd8" + (XMP + b" dc:rights" * 7000)[:65537] * 15 + b"\xff\xd9",
    "a text of openings": png_start() + chunk(b"tEXt", b"XML:com.adobe.xmp\0" + b"<dc:creator><rdf:li>" * 52_000),
    "segments of nothing": b"\xff\xd8\xff" + b"\xff\xe1\0\x02" * 1_000_000,
    "fill bytes": b"\xff\xd8\xff" + b"\xff" * 5_000_000,
    "a GIF of sub-blocks": b"GIF89a\1\0\1\0\0\0\0" + b"!\xf9\0" * 2_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_little_time(tmp_path, name):
    """No file takes more than seconds, however it is made."""
    write_bag(tmp_path, {"a.png": HOSTILE[name]})
    started = time.process_time()
    read_images(Bag.open(tmp_path), Silent())
    assert time.process_time() - started < 5


def test_little_is_read(tmp_path, monkeypatch):
    """A large image takes no more reading than a small one: the pixels are never read."""
    write_bag(
        tmp_path,
        {
            "a.jpg": noise("JPEG")[:-2] + bytes(30_000_000) + b"\xff\xd9",
            "b.png": after_pixels(encode("PNG"), b"teSt", bytes(30_000_000)),
        },
    )
    read = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or real(*arguments))
    before = _bytes_read()
    assert {image.problem for image in read_images(Bag.open(tmp_path), Silent())} == {""}
    assert _bytes_read() - before < 2_000_000
    assert sum(read) < 10_000


def _bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])
