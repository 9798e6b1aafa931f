"""Images have the pixels that Pillow gives, whichever library decodes them; broken files give its errors."""

import contextlib
import io
import random
import struct
import zlib
from itertools import pairwise, product

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from tests.trainers.havens import png
from trainers.dataset import decode as module
from trainers.dataset.decode import BrokenImageError, decode

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # color types of PNG
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
FORMS = [
    *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    *((color, depth) for color in (RGB, GREY_ALPHA, RGBA) for depth in (8, 16)),
]
COMMON = [(GREY, 8), (RGB, 8), (RGBA, 8)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
PLAIN = [(0, 0, 1, 1)]

EXIF = Image.Exif()
EXIF[0x0112] = 6  # the camera was held upright
METADATA = [
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", *range(1, 9))),
    (b"iCCP", b"a profile that is none\0\0" + zlib.compress(b"x" * 200)),
    (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    (b"eXIf", EXIF.tobytes()[6:]),
    (b"tEXt", b"Title\0before the pixels"),
]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def packed(row, depth: int):
    """Pack the samples of a row into bytes."""
    if depth == 16:
        return np.frombuffer(row.astype(">u2").tobytes(), np.uint8).astype(int)
    bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).astype(int)


def scanlines(samples, depth: int) -> bytes:
    """Write the samples (height, width, channels) of a pass; the rows use the five filters in turn."""
    step = max(1, samples.shape[2] * depth // 8)  # bytes to the neighbour on the left
    rows = [packed(row, depth) for row in samples.reshape(len(samples), -1)]
    lines = b""
    for number, (above, row) in enumerate(pairwise([np.zeros_like(rows[0]), *rows])):
        left, corner = (np.concatenate([np.zeros(step, int), line])[: len(row)] for line in (row, above))
        distances = [abs(left + above - corner - neighbour) for neighbour in (left, above, corner)]
        paeth = np.choose(np.argmin(distances, axis=0), [left, above, corner])
        predicted = [0, left, above, (left + above) // 2, paeth][number % 5]
        lines += bytes([number % 5]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
    return lines


def make_png(samples, color: int, depth: int, *, interlaced=False, before=(), after=(), cut=None) -> bytes:
    """Make a PNG with chunks before and after the pixels, whose stream may be cut into two chunks."""
    height, width = samples.shape[:2]
    passes = (samples[y::dy, x::dx] for x, y, dx, dy in (ADAM7 if interlaced else PLAIN))
    stream = zlib.compress(b"".join(scanlines(part, depth) for part in passes if part.size))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    pixels = [(b"IDAT", part) for part in (stream[:cut], *([stream[cut:]] if cut else []))]
    chunks = [(b"IHDR", header), *before, *pixels, *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def random_samples(rng, size, color: int, depth: int):
    width, height = size
    return rng.integers(0, 2**depth, (height, width, CHANNELS[color]))


def colors(rng, color: int, depth: int):
    """The chunks that give a palette its colors, and some colors their transparency."""
    if color == PALETTE:
        return [(b"PLTE", rng.bytes(3 * 2**depth)), (b"tRNS", rng.bytes(2**depth - 1))]
    if color in {GREY, RGB}:
        return [(b"tRNS", struct.pack(f">{CHANNELS[color]}H", *[1] * CHANNELS[color]))]
    return []


def encoded(pixels, form="png", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def as_stored(content: bytes, size):
    """Decode an image whose EXIF orientation does not count."""
    return decode(content, size, size, turns=lambda: False)


def by_pillow(content: bytes):
    with Image.open(io.BytesIO(content)) as image:
        if image.mode == "I;16":
            return np.asarray(Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB"))
        return np.asarray(image.convert("RGB"))


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow's advice; ours are converted to RGB
@pytest.mark.parametrize("interlaced", [False, True], ids=["straight", "interlaced"])
@pytest.mark.parametrize(("color", "depth"), FORMS)
def test_every_form_of_png_has_the_pixels_of_pillow(color, depth, interlaced):
    """Color type, bit depth, interlacing, filters, transparency, color profiles and EXIF data: the pixels are equal."""
    rng = np.random.default_rng(depth)
    metadata = METADATA + colors(rng, color, depth)
    needed = [each for each in metadata if each[0] == b"PLTE"]
    for size in ((1, 1), (3, 5), (8, 8), (33, 17)):
        samples = random_samples(rng, size, color, depth)
        for before in (needed, metadata):
            content = make_png(samples, color, depth, interlaced=interlaced, before=before, cut=9)
            assert (as_stored(content, size) == by_pillow(content)).all()


@pytest.fixture
def by_libspng(monkeypatch):
    """Record what libspng decodes."""
    results = []

    def spy(content, decoder=imagecodecs.spng_decode):
        results.append(decoder(content))
        return results[-1]

    monkeypatch.setattr(imagecodecs, "spng_decode", spy)
    return results


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(("color", "depth"), FORMS)
def test_libspng_decodes_the_common_forms(color, depth, by_libspng):
    """libspng decodes 8-bit grey, RGB and RGBA to exactly the samples in the file; Pillow decodes the rest."""
    rng = np.random.default_rng(0)
    samples = random_samples(rng, (9, 4), color, depth)
    pixels = as_stored(make_png(samples, color, depth, before=METADATA + colors(rng, color, depth)), (9, 4))
    assert len(by_libspng) == ((color, depth) in COMMON)
    if by_libspng:
        assert (pixels == samples[:, :, :3]).all()


def test_an_animation_gives_its_first_image(by_libspng):
    """Pillow decodes animated PNGs: it knows which of their images is the first."""
    frames = [Image.fromarray(np.full((4, 6, 3), value, np.uint8)) for value in (10, 200)]
    out = io.BytesIO()
    frames[0].save(out, "png", save_all=True, append_images=frames[1:])
    assert (decode(out.getvalue(), (6, 4), (6, 4)) == 10).all()
    assert not by_libspng


def test_a_second_header_leaves_the_file_to_pillow(by_libspng):
    """With several headers, Pillow follows the last and libspng the first; here only the last says interlaced."""
    samples = random_samples(np.random.default_rng(0), (8, 8), RGB, 8)
    header = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, RGB, 0, 0, True))
    with pytest.raises(BrokenImageError, match="can't be decoded"):
        decode(make_png(samples, RGB, 8, before=[header]), (8, 8), (8, 8))
    assert not by_libspng


def test_pixels_after_another_chunk_are_left_to_pillow(by_libspng):
    """The chunks of the pixels must be consecutive: Pillow refuses other files, so the parts are not joined."""
    content = make_png(random_samples(np.random.default_rng(0), (8, 8), RGB, 8), RGB, 8, cut=40)
    second = content.rindex(b"IDAT") - 4
    with pytest.raises(BrokenImageError, match="can't be decoded"):
        decode(content[:second] + chunk(*METADATA[-1]) + content[second:], (8, 8), (8, 8))
    assert not by_libspng


def mended(content: bytes) -> bytes:
    """Correct the checksums of the chunks, so that they do not reveal a change."""
    out, at = [content[:8]], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if at + 12 + length > len(content):
            break
        out.append(chunk(content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join([*out, content[at:]])


def damages(content: bytes):
    """Cut the file at every byte, flip a bit of every byte, and drop a few bytes, with correct checksums or without."""
    choice = random.Random(0)
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << choice.randrange(8)
        shorter = content[:at] + content[at + choice.randrange(1, 9) :]
        yield from (content[:at], bytes(flipped), mended(bytes(flipped)), shorter, mended(shorter))


def outcome(content: bytes, size, context=contextlib.nullcontext):
    """The pixels, or what the error says."""
    try:
        with context():
            return decode(content, size, size).tobytes()
    except BrokenImageError as error:
        return str(error)


@pytest.fixture
def pillow_alone(monkeypatch):
    @contextlib.contextmanager
    def alone():
        with monkeypatch.context() as patch:
            patch.setattr(module, "_by_libspng", lambda *_: None)
            yield

    return alone


def test_a_checksum_in_a_separate_chunk_is_checked(pillow_alone):
    """A wrong checksum after the last pixel gives Pillow's result, even if a decoder could stop before it."""
    results = []
    for size in product(range(1, 9), (5, 8)):
        content = bytearray(make_png(np.full((*size[::-1], 3), 7), RGB, 8, cut=-5))
        content[-len(chunk(b"IEND", b"")) - 5] ^= 1
        results.append(outcome(mended(bytes(content)), size))
        assert results[-1] == outcome(mended(bytes(content)), size, pillow_alone)
    assert {type(each) for each in results} == {bytes, str}


@pytest.mark.parametrize("interlaced", [False, True], ids=["straight", "interlaced"])
@pytest.mark.parametrize(("color", "depth"), COMMON)
def test_damaged_files_end_as_with_pillow(color, depth, interlaced, pillow_alone):
    """A damaged PNG gives the same error or the same pixels as if Pillow alone decoded it."""
    size = (7, 6)
    samples = random_samples(np.random.default_rng(1), size, color, depth)
    text = [(b"tEXt", b"Comment\0after the pixels"), (b"zTXt", b"More\0\0" + zlib.compress(b"x" * 20))]
    for cut, after in ((None, text[:1]), (20, text)):
        options = {"interlaced": interlaced, "before": METADATA[:2], "after": after, "cut": cut}
        whole = make_png(samples, color, depth, **options)
        damaged = [whole, *damages(whole)]
        ours = [outcome(content, size) for content in damaged]
        assert ours == [outcome(content, size, pillow_alone) for content in damaged]
        assert {type(each) for each in ours} == {bytes, str}


def test_an_image_is_decoded_and_resized():
    """Pixels come as height x width x 3; at its own size an image keeps the pixels of the file."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (decode(encoded(pixels), (7, 5), (7, 5)) == pixels).all()
    assert decode(encoded(pixels), (7, 5), (14, 10)).shape == (10, 14, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_other_modes_become_rgb(mode):
    """Grey, palette, transparent and CMYK images become three channels of uint8."""
    out = io.BytesIO()
    Image.new(mode, (6, 4)).save(out, "tiff" if mode == "CMYK" else "png")
    array = decode(out.getvalue(), (6, 4), (6, 4))
    assert (array.shape, array.dtype) == ((4, 6, 3), np.uint8)


def test_sixteen_bits_are_scaled():
    """A 16-bit image keeps its upper 8 bits; cutting off high values would turn it white."""
    array = decode(encoded(np.full((4, 4), 0x8000, np.uint16)), (4, 4), (4, 4))
    assert (array == 0x80).all()


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_a_photograph_on_its_side_is_turned(form):
    """EXIF orientation is applied only if the COCO file has the upright size."""
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    photo = encoded(pixels, form, exif=EXIF)
    upright, stored = decode(photo, (4, 8), (4, 8)), decode(photo, (8, 4), (8, 4))
    assert upright[:4].min() > 200
    assert upright[4:].max() < 50
    assert stored[:, :4].min() > 200


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "can't be decoded: not an image in a known format"),
        (b"<html>not found</html>", "can't be decoded: not an image in a known format"),
        (png(64, 48)[:3000], "can't be decoded"),
        (png(64, 48)[:-40] + b"\0" * 40, "can't be decoded"),
        (png(64, 40), "expected 64 x 48 pixels, found 64 x 40"),
        (png(48, 64), "expected 64 x 48 pixels, found 48 x 64"),
    ],
)
def test_a_broken_image_says_what_is_wrong(content, found):
    """The error names the decoder's reason, or the size in the COCO file and the size found."""
    with pytest.raises(BrokenImageError, match=found):
        decode(content, (64, 48), (64, 48))


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize(
    "name", [b"iCCP", b"gAMA", b"cHRM", b"pHYs", b"tRNS", b"sRGB", b"acTL", b"fcTL", b"zTXt", b"iTXt"]
)
def test_an_empty_chunk_is_broken_or_ignored(name, depth):
    """Whatever Pillow raises for a chunk that is cut off, before the pixels or after them, it is a broken image."""
    samples = random_samples(np.random.default_rng(0), (5, 4), GREY, depth)
    for place in ("before", "after"):
        content = make_png(samples, GREY, depth, **{place: [(name, b"")]})
        with contextlib.suppress(BrokenImageError):
            assert decode(content, (5, 4), (5, 4)).shape == (4, 5, 3)
