"""The manifest: its format, what it refuses, and the check of a folder against it."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.bag.changes import Changes, Difference, compare_bytes, compare_names
from datapack.bag.listing import list_payload
from datapack.bag.manifest import Manifest, check_path
from datapack.errors import ManifestError
from datapack.hashing import hash_file, hash_files

A, B = "a" * 64, "b" * 64

part = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="/\\%"), min_size=1).filter(
    lambda text: not text.startswith((".wh.", ".")) and len(text.encode()) <= 255
)
paths = st.lists(part, min_size=1, max_size=4).map("/".join).filter(lambda path: path == path.rstrip())
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A folder with three payload files and their manifest."""
    for name, content in (("a.png", b"one"), ("deep/b c.png", b"two"), ("deep/ö.png", b"")):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    hashes = dict(hash_files(tmp_path, list_payload(tmp_path).files))
    (tmp_path / "manifest-sha256.txt").write_bytes(Manifest.of(hashes).content)
    return tmp_path


@given(st.dictionaries(paths, digests, min_size=1))
def test_manifest_is_read_back_as_written(hashes):
    """Any manifest survives formatting and parsing."""
    manifest = Manifest.of(hashes)
    assert Manifest.parse(manifest.content) == manifest
    assert Manifest.parse(manifest.content).digest == manifest.digest


@given(st.dictionaries(paths, digests, min_size=1), st.randoms())
def test_order_of_input_does_not_matter(hashes, random):
    """The same files in any order have the same digest."""
    shuffled = list(hashes.items())
    random.shuffle(shuffled)
    assert Manifest.of(dict(shuffled)).digest == Manifest.of(hashes).digest


def test_lines_are_sorted_by_bytes():
    """Lines are sorted as by LC_ALL=C sort, not by a locale or by code units."""
    names = ["data/ä", "data/Z", "data/a", "data/a-b", "data/a/b", "data/\U0001f41f", "data/\uffee"]
    assert list(Manifest.of(dict.fromkeys(names, A)).hashes) == sorted(names, key=str.encode)


def test_digest_is_the_sha256_of_the_file():
    """The dataset digest is the sha256 of the manifest file: a golden value."""
    manifest = Manifest.of({"data/b": A, "data/a": B})
    assert manifest.content == f"{B}  data/a\n{A}  data/b\n".encode()
    assert manifest.digest == "sha256:6d3ef3807fc28c9552351118c59a521ced14a05caa27d48718ecfc8fd5ec9a35"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (f"{A}  data/a\n{A[:63]}  data/b\n", ":2: not a manifest line"),
        (f"{A} data/a\n", ":1: not a manifest line"),
        (f"{A} *data/a\n", ":1: not a manifest line"),
        (f"{A.upper()}  data/a\n", ":1: not a manifest line"),
        (f"# a comment\n{A}  data/a\n", ":1: not a manifest line"),
        (f"\\{A}  data/a\\nb\n", ":1: not a manifest line"),
        (f"{A}  data/a\r\n", ":1: the file name"),
        (f"{A}  data/a\n\n", ":2: not a manifest line"),
        (f"{A}  data/a\n{B}  data/a\n", ":2: data/a is named twice"),
        (f"{A}  data/b\n{B}  data/a\n", ":2: data/a is out of order"),
        (f"{A}  data/../a\n", ":1: the file name 'data/../a' is not allowed"),
        (f"{A}  /data/a\n", ":1: the file name '/data/a' is not allowed"),
        (f"{A}  data//a\n", ":1: the file name"),
        (f"{A}  data/a\tb\n", ":1: the file name"),
        (f"{A}  data/a\\b\n", ":1: the file name"),
        (f"{A}  data/a", "the last line is cut off"),
        ("", "the manifest is empty"),
    ],
)
def test_malformed_line_is_refused(lines, says):
    """A line in any other form is refused by its number."""
    with pytest.raises(ManifestError, match="manifest") as error:
        Manifest.parse(lines.encode())
    assert says in str(error.value)


def test_invalid_utf8_is_refused():
    """Bytes that are not UTF-8 are refused by their line."""
    with pytest.raises(ManifestError, match=":2: not UTF-8"):
        Manifest.parse(f"{A}  data/a\n{A}  data/".encode() + b"\xff\n")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "a bidirectional control character") for name in ("a\u202egnp.exe", "\u2067a", "a\u202c")),
        *((name, "a control character or a backslash") for name in ("a\nb", "a\x7f", "a\x85", "a\u2028b", "a\\b")),
        *((name, "an empty, '.' or '..' part") for name in ("..", "a/../b", "", "a//b", "a/", "./a", "a/.")),
        ("/a", "a leading '/'"),
        *((name, "bytes that are not UTF-8") for name in ("\udc80", "\udc80" * 300)),
        *((name, "white space at its end") for name in ("a ", "a\u00a0")),
        *((name, "%0A, %0D or %25, which BagIt tools read") for name in ("a%0Ab", "%0d", "100%25/x", "%0D%0A")),
        *((name, "a part that begins with '.wh.'") for name in (".wh.a", "a/.wh..wh..opq", ".wh./b", ".wh.")),
        *((name, "a part of more than 255 bytes") for name in ("a" * 256, f"b/{'é' * 128}/c")),
    ],
)
def test_ambiguous_name_is_refused(name, why):
    """Names that some tool would read differently, or that delete a file in an image, are refused with the reason."""
    with pytest.raises(ManifestError, match="is not allowed") as error:
        check_path(name)
    assert f"found {why}" in str(error.value)


@pytest.mark.parametrize(
    "name", ["a%20b", "100%", "%2", "a.wh.b", ".whale", "wh.a", "..a", "a" * 255, "é" * 127, "...", ".x"]
)
def test_ordinary_name_is_allowed(name):
    """Names that only look like those are allowed."""
    assert check_path(name) == name


@given(st.binary(max_size=2000))
def test_parser_raises_only_its_own_error(content):
    """The parser accepts any bytes or raises its own error."""
    try:
        manifest = Manifest.parse(content)
    except ManifestError:
        return
    assert Manifest.of(manifest.hashes).content == content


def test_coreutils_and_busybox_accept_it(bag):
    """sha256sum -c reads the manifest, and so does busybox if it is installed."""
    subprocess.run(["sha256sum", "-c", "--strict", "--quiet", "manifest-sha256.txt"], cwd=bag, check=True)
    if Path("/bin/busybox").exists():
        subprocess.run(["/bin/busybox", "sha256sum", "-c", "-s", "manifest-sha256.txt"], cwd=bag, check=True)


def test_complete_folder_has_no_difference(bag):
    """A folder that matches its manifest has no difference in names or bytes."""
    manifest = Manifest.read(bag)
    assert not compare_names(manifest, list_payload(bag))
    assert not compare_bytes(manifest, bag, list_payload(bag))


def test_every_difference_is_found_at_once(bag):
    """Missing, extra and changed files are all reported, sorted."""
    (bag / "data/a.png").write_bytes(b"One")
    (bag / "data/deep/b c.png").unlink()
    (bag / "data/z").write_bytes(b"")
    (bag / "data/deep/y").write_bytes(b"")
    difference = compare_bytes(Manifest.read(bag), bag, list_payload(bag))
    assert difference == Difference(("data/deep/b c.png",), ("data/deep/y", "data/z"), ("data/a.png",))
    assert str(difference) == "1 missing, 2 extra, 1 changed"
    assert difference.lines() == (
        "missing  data/deep/b c.png",
        "extra    data/deep/y",
        "extra    data/z",
        "changed  data/a.png",
    )


@given(st.integers(0, 2), st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory, byte, bit):
    """One flipped bit in a file is a change, although its size and name are the same."""
    folder = tmp_path_factory.mktemp("flip")
    (folder / "data").mkdir()
    path = folder / "data" / "a"
    path.write_bytes(b"abc")
    manifest = Manifest.of({"data/a": hash_file(path)})
    content = bytearray(b"abc")
    content[byte] ^= 1 << bit
    path.write_bytes(content)
    assert compare_bytes(manifest, folder, list_payload(folder)).changed == ("data/a",)


def test_link_is_not_a_payload_file(bag):
    """A link to the right content is still a change: payload files are regular files."""
    target = bag / "elsewhere"
    (bag / "data/a.png").rename(target)
    (bag / "data/a.png").symlink_to(target)
    assert compare_bytes(Manifest.read(bag), bag, list_payload(bag)).changed == ("data/a.png",)
    with pytest.raises(OSError, match=r"a\.png"):
        hash_file(bag / "data/a.png")


def test_device_is_not_opened(tmp_path):
    """A FIFO does not block the check."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file") as error:
        hash_file(tmp_path / "fifo")
    assert error.value.filename == str(tmp_path / "fifo")


def test_progress_counts_every_byte(bag):
    """The values passed to `advance` add up to the bytes of all files."""
    seen = []
    compare_bytes(Manifest.read(bag), bag, list_payload(bag), advance=seen.append)
    assert sum(seen) == 6


def test_changes_tell_look_alikes_apart():
    """A name that only changed its Unicode form was removed and added: both lines spell it out."""
    before, after = Manifest.of({"data/\xe9": A, "data/a": A}), Manifest.of({"data/e\u0301": A, "data/b": A})
    assert Changes.between(before, after).lines() == (
        "added    data/b",
        "added    data/e\u0301, spelled 'data/e\\u0301'",
        "removed  data/a",
        "removed  data/\xe9, spelled 'data/\\xe9'",
    )
