"""How much of a body is read: what the headers say, as long as that makes sense, and never without end."""

import io
import zipfile

import pytest
from PIL import Image

from datapack.download import partial
from datapack.errors import FetchError
from tests.download.downloading import downloader, fetch, left
from tests.servers import RawServer, Reply, png, read_head


def raw(*lines, body=b"", keep=b""):
    """Answer with these header lines and this body, and then send ``keep`` for ever."""

    def talk(connection):
        read_head(connection)
        connection.sendall("".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", *lines, "")).encode() + body)
        while keep:
            connection.sendall(keep)

    return talk


def get(talk, path, **options):
    with RawServer(talk) as server:
        return fetch(path, f"{server.url}/{path.name}", fetcher=downloader(timeout=1.0, tries=2, **options))


@pytest.mark.parametrize(
    "value",
    ["9" * 5000, "9" * 19, "-5", "5.0", "0x5", "five", "5 5", "+5", "5, 6", "\u00b2", "5;", "1e3"],
    ids=lambda value: value[:10],
)
def test_a_length_that_is_no_length_is_one_reason(tmp_path, value):
    """It is neither an error of Python nor a proof that the file is missing."""
    failure = get(raw(f"Content-Length: {value}", body=b"hello"), tmp_path / "a.bin")
    assert (failure.reason, failure.definite) == ("an invalid Content-Length", False)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "lines", [["Content-Length: 5, 5"], ["Content-Length: 5", "Content-Length: 5"], ["Content-Length: 005"]]
)
def test_a_length_may_be_repeated(tmp_path, lines):
    """Some proxies send it twice."""
    assert get(raw(*lines, body=b"hello"), tmp_path / "a.bin") is None
    assert (tmp_path / "a.bin").read_bytes() == b"hello"


def test_a_body_is_not_read_beyond_its_length(tmp_path):
    """A server that goes on sending is not listened to."""
    assert get(raw("Content-Length: 5", body=b"hello", keep=b"more" * 1000), tmp_path / "a.bin") is None
    assert (tmp_path / "a.bin").read_bytes() == b"hello"


@pytest.mark.parametrize("lines", [[], ["Transfer-Encoding: chunked"]], ids=["until the end", "chunked"])
def test_a_body_without_length_has_a_cap(tmp_path, monkeypatch, lines):
    """It ends at a fixed size: nothing is left of it, and it is not definite."""
    monkeypatch.setattr(partial, "_LARGEST", 5_000_000)
    block = b"x" * 100_000
    keep = b"186a0\r\n" + block + b"\r\n" if lines else block
    failure = get(raw(*lines, keep=keep), tmp_path / "a.bin")
    assert failure.reason == "over 5 MB, and the server does not say how long the file is"
    assert not failure.definite
    assert left(tmp_path) == []


def test_a_body_without_length_never_fills_the_disk(tmp_path, monkeypatch):
    """The free space is checked while the file grows; some of it must stay free."""
    monkeypatch.setattr(partial, "_RESERVE", 1 << 60)
    with pytest.raises(FetchError, match="not enough space on the disk"):
        get(raw(keep=b"x" * 100_000), tmp_path / "a.bin")
    assert left(tmp_path) == []


@pytest.mark.parametrize("coding", ["gzip, chunked", "x", "chunked, chunked"])
def test_a_transfer_coding_that_nobody_asked_for_is_refused(tmp_path, coding):
    """Its bytes are not the file's."""
    failure = get(raw(f"Transfer-Encoding: {coding}", body=b"5\r\nhello\r\n0\r\n\r\n"), tmp_path / "a.bin")
    assert failure.reason == f"a transfer coding that was not requested ({coding})"


@pytest.mark.parametrize(
    "coding", ["identity", "aws-chunked", "utf-8", "UTF-8", "binary", "", "aws-chunked, binary", ","]
)
def test_an_encoding_that_changes_nothing_is_ignored(server, tmp_path, coding):
    """Upload tools leave such values behind in object stores."""
    server.reply("/a.csv", Reply(b"a,b\n", headers={"Content-Encoding": coding}))
    assert fetch(tmp_path / "a.csv", f"{server.url}/a.csv") is None


@pytest.mark.parametrize(
    ("name", "coding", "accepted"),
    [
        ("a.csv.gz", "gzip", True),
        ("a.tgz", "x-gzip", True),
        ("A.TAR.GZ", "GZIP", True),
        ("a.csv", "gzip", False),
        ("a.csv.gz", "br", False),
        ("a.csv.gz", "gzip, gzip", False),
        ("a.csv", "zstd", False),
        ("a.csv", "deflate", False),
    ],
)
def test_gzip_on_a_gzip_file_is_the_file_itself(server, tmp_path, name, coding, accepted):
    """Many servers say that of each .gz file; any other encoding changes the bytes."""
    server.reply(f"/{name}", Reply(b"\x1f\x8bxyz", headers={"Content-Encoding": coding}))
    failure = fetch(tmp_path / name, f"{server.url}/{name}")
    if accepted:
        assert (tmp_path / name).read_bytes() == b"\x1f\x8bxyz"
    else:
        assert failure.reason == f"an encoding that was not requested ({coding.lower()})"


def whole(kind):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a", "b" * 9000)
    elif kind == "jpg with a thumbnail":
        small, large = whole("jpg"), whole("jpg")
        segment = b"Exif\0\0" + small
        return large[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + large[2:]
    else:
        image = Image.effect_noise((80, 60), 90).convert("RGB")
        image.save(out, {"jpg": "JPEG", "gif": "GIF", "webp": "WEBP", "png": "PNG"}[kind])
    return out.getvalue()


@pytest.mark.parametrize("kind", ["jpg", "jpg with a thumbnail", "png", "gif", "webp", "zip"])
def test_a_file_without_known_length_must_have_its_end(server, tmp_path, kind):
    """A cut can't be seen in the transfer, so it must be seen in the file; what follows the end does not matter."""
    name, content = f"a.{kind[:4].strip()}", whole(kind)
    server.reply(f"/{name}", Reply(content, length=False))
    assert fetch(tmp_path / name, f"{server.url}/{name}") is None
    for keep in (0.5, 0.9):
        server.reply(f"/{name}", Reply(content[: int(len(content) * keep)], length=False))
        failure = fetch(tmp_path / "cut" / name, f"{server.url}/{name}")
        assert failure.reason.endswith("file that is cut off"), failure
    server.reply(f"/{name}", Reply(content + bytes(50), length=False))
    assert fetch(tmp_path / "more" / name, f"{server.url}/{name}") is None


def test_a_jpeg_that_is_cut_off_where_its_thumbnail_ends(server, tmp_path):
    """The last two bytes are then an end marker, but not that of this image."""
    content = whole("jpg with a thumbnail")
    server.reply("/a.jpg", Reply(content[: content.index(b"\xff\xd9") + 2], length=False))
    assert fetch(tmp_path / "a.jpg", f"{server.url}/a.jpg").reason == "a JPEG file that is cut off"


def test_an_image_of_known_length_is_not_searched_for_its_end(server, tmp_path):
    """A file of the announced length is complete; some cameras leave the end marker out."""
    server.reply("/a.jpg", Reply(whole("jpg")[:-2]))
    assert fetch(tmp_path / "a.jpg", f"{server.url}/a.jpg") is None


def test_a_png_is_searched_for_its_end_in_no_time(server, tmp_path):
    """Millions of empty chunks in front of it take one pass."""
    import time

    chunks = (b"\0\0\0\0teXt" + b"\xaa\xbb\xcc\xdd") * 3_000_000
    server.reply("/a.png", Reply(png()[:33] + chunks))
    began = time.monotonic()
    assert fetch(tmp_path / "a.png", f"{server.url}/a.png").reason == "a PNG file that is cut off"
    assert time.monotonic() - began < 5
