"""A base's layers, unpacked in memory: within bounds, whatever they contain, and as engines do it."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import tracemalloc

import pytest

from datapack.errors import ImageError
from datapack.oci import compression, filesystem
from datapack.oci.boundary import FAILURES
from datapack.oci.compression import GZIP, ZSTD, can_unpack, unpacked
from datapack.oci.filesystem import Filesystem, list_entries
from datapack.oci.spec import LAYER
from datapack.oci.tar import TarError, TarReader

FOLDER, LINK, HARD, PLAIN = "a folder", "a symbolic link", "a hard link", "a file"


def layer(*entries: tuple[str, str, str]) -> Filesystem:
    """Unpack layers of one entry each."""
    files = Filesystem()
    for entry in entries:
        files.apply([entry])
    return files


def test_what_is_there_is_replaced_unless_both_are_folders():
    """As containerd and Docker do."""
    files = layer(("a/b", PLAIN, ""), ("a", FOLDER, ""))
    assert files.root == {"a": {"b": None}}
    files.apply([("a", PLAIN, "")])
    assert files.root == {"a": None}
    files.apply([("a", LINK, "x"), ("a", FOLDER, "")])
    assert files.root == {"a": {}}
    files.apply([("d", PLAIN, ""), ("./a//c", HARD, "/d")])
    assert files.root == {"a": {"c": None}, "d": None}


def test_links_lead_below_the_root():
    """A link on the way to a name never leaves the root; the last part of a name is not followed."""
    files = Filesystem()
    files.apply([("x", LINK, "/a/../b"), ("x/y", PLAIN, ""), ("up", LINK, "../../c"), ("up/z", PLAIN, "")])
    assert files.root == {"x": "/a/../b", "a": {}, "b": {"y": None}, "up": "../../c", "c": {"z": None}}
    files.apply([("x", PLAIN, "")])
    assert files.root["x"] is None


def test_whiteouts():
    """One removes a name; an opaque one removes what lower layers have, wherever it is in its layer."""
    files = layer(("a/b/c", PLAIN, ""), ("a/d", PLAIN, ""), ("a/.wh.b", PLAIN, ""), ("a/.wh.nothing", PLAIN, ""))
    assert files.root == {"a": {"d": None}}
    files.apply([("a/new", FOLDER, ""), ("a/new/e", PLAIN, ""), ("a/.wh..wh..opq", PLAIN, ""), ("a/f", PLAIN, "")])
    assert files.root == {"a": {"new": {"e": None}, "f": None}}
    files.apply([(".wh..wh.plnk", PLAIN, ""), ("a/.wh..wh.aufs", PLAIN, "")])
    assert files.root == {"a": {"new": {"e": None}, "f": None}}


@pytest.mark.parametrize(
    "entries",
    [
        [("..", PLAIN, "")],
        [("a/../b", PLAIN, "")],
        [("a", PLAIN, ""), ("a/b", PLAIN, "")],
        [("a", LINK, "a"), ("a/b", PLAIN, "")],
        [("a", HARD, "nothing")],
        [("a", HARD, "no/thing")],
        [("a", HARD, "../a")],
        [("d", FOLDER, ""), ("a", HARD, "d")],
        [(".wh.", PLAIN, "")],
        [("a/.wh...", PLAIN, "")],
        [("a/.wh..", PLAIN, "")],
    ],
)
def test_what_no_engine_unpacks_or_not_every_one(entries):
    """It is an error, not a guess."""
    with pytest.raises(TarError):
        Filesystem().apply(entries)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ([], [("a", PLAIN, ""), (".wh.a", PLAIN, "")]),
        ([], [("a/b/c", PLAIN, ""), (".wh.a", PLAIN, "")]),
        ([("a", FOLDER, "")], [("a/b", PLAIN, ""), (".wh.a", PLAIN, "")]),
        ([("a", LINK, "b")], [("b/x", PLAIN, ""), (".wh.b", PLAIN, "")]),
        ([], [("a/b/c", PLAIN, ""), ("a/.wh..wh..opq", PLAIN, "")]),
        ([], [("a/b/c", PLAIN, ""), (".wh..wh..opq", PLAIN, "")]),
        ([("a/b", FOLDER, "")], [("a/b/c", PLAIN, ""), ("a/.wh..wh..opq", PLAIN, "")]),
        ([("a", LINK, "b"), ("b/x", PLAIN, "")], [("a/.wh.x", PLAIN, "")]),
        ([("a", LINK, "b"), ("b/x", PLAIN, "")], [("a/.wh..wh..opq", PLAIN, "")]),
        ([("a", LINK, "b")], [("a/x", PLAIN, "")]),
        ([("a", LINK, "b")], [("x", PLAIN, ""), ("y", HARD, "a/x")]),
        ([("x", PLAIN, "")], [("y", HARD, "x")]),
    ],
)
def test_what_engines_with_overlayfs_unpack_differently(lower, upper):
    """They unpack a layer where nothing of the others is, and a whiteout hides only what is below its layer."""
    files = Filesystem()
    files.apply(lower)
    with pytest.raises(TarError):
        files.apply(upper)


def test_whiteouts_come_before_what_replaces_them():
    """In this order all engines agree."""
    files = layer(("a/b", PLAIN, ""), ("c/d", PLAIN, ""), ("l", LINK, "a"))
    files.apply([(".wh.a", PLAIN, ""), ("a/x", PLAIN, ""), ("c/.wh..wh..opq", PLAIN, ""), ("c/e/f", PLAIN, "")])
    files.apply([("l", FOLDER, ""), ("l/y", PLAIN, "")])
    assert files.root == {"a": {"x": None}, "c": {"e": {"f": None}}, "l": {"y": None}}


def test_a_bomb_of_whiteouts():
    """Each folder is emptied once, however many whiteouts a layer has for it."""
    names = [(f"a/{number}", PLAIN, "") for number in range(20_000)]
    start = time.process_time()
    Filesystem().apply([("a", FOLDER, ""), *names, *[("a/.wh..wh..opq", PLAIN, "")] * 20_000])
    assert time.process_time() - start < 5


@pytest.mark.parametrize("key", ["trusted.overlay.redirect", "user.overlay.redirect", "user.fuseoverlayfs.opaque"])
def test_attributes_that_overlayfs_obeys(key):
    """A folder can be moved with one: what is in it then comes from elsewhere in the base."""
    member = tarfile.TarInfo("dataset")
    member.type, member.pax_headers = tarfile.DIRTYPE, {f"SCHILY.xattr.{key}": "/evil"}
    content = member.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
    with pytest.raises(TarError, match="which some engines obey"):
        list_entries(TarReader(io.BytesIO(content), len(content)))


def test_a_bomb_of_entries(monkeypatch):
    """However many entries a few bytes unpack to, the memory is bounded: in one layer, and in all together."""
    monkeypatch.setattr(filesystem, "MOST_ENTRIES", 100)
    content = tarfile.TarInfo("x").tobuf() * 101
    with pytest.raises(TarError, match="more than 100 entries"):
        list_entries(TarReader(io.BytesIO(content), len(content)))
    files = Filesystem()
    files.apply([(f"{number}", PLAIN, "") for number in range(60)])
    with pytest.raises(TarError, match="more than 100 entries"):
        files.apply([(f"{number}", PLAIN, "") for number in range(60)])


def test_a_bomb_of_bytes(monkeypatch):
    """A layer that unpacks to more than the limit is an error, and no more of it than a block is in memory."""
    monkeypatch.setattr(compression, "UNPACKED_LIMIT", 64 << 20)
    member = tarfile.TarInfo("x")
    member.size = 1 << 30
    bomb = gzip.compress(member.tobuf() + bytes(100 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 67,108,864 bytes when unpacked"):
        list_entries(TarReader(unpacked(GZIP, io.BytesIO(bomb), "a test"), 2 << 30))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("form", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_of_records(form):
    """Records before a header are never read whole: they may claim any size."""
    member = tarfile.TarInfo("x")
    member.size, member.type = 100 << 20, form
    bomb = gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(100 << 20))
    tracemalloc.start()
    with pytest.raises(TarError, match="the records before a header are too large"):
        list_entries(TarReader(unpacked(GZIP, io.BytesIO(bomb), "a test"), 1 << 30))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_size_that_would_take_years():
    """A stream that has ended is not read on for what a header promises."""
    member = tarfile.TarInfo("x")
    member.size = 1 << 60
    content = member.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(TarError, match="'x' is cut off"):
        list_entries(TarReader(io.BytesIO(content), 1 << 50))
    with pytest.raises(TarError, match="the archive is cut off"):
        list_entries(TarReader(io.BytesIO(content), 1 << 62))


def test_compressions():
    """gzip, also of several members; zstd if there is something to read it; nothing else."""
    content = tarfile.TarInfo("x").tobuf() + bytes(1024)
    zipped = gzip.compress(content[:512]) + gzip.compress(content[512:])
    for media_type, stored in ((LAYER, content), (GZIP, zipped)):
        assert can_unpack(media_type)
        archive = unpacked(media_type, io.BytesIO(stored), "a test")
        assert list_entries(TarReader(archive, len(content))) == [("x", "a file", "")]
    with pytest.raises(ImageError, match=r"a test: a layer of an unknown type: expected .* found text/plain"):
        unpacked("text/plain", io.BytesIO(), "a test")
    if can_unpack(ZSTD):
        import zstandard  # type: ignore[import-not-found]

        stored = zstandard.compress(content[:512]) + zstandard.compress(content[512:])
        archive = unpacked(ZSTD, io.BytesIO(stored), "a test")
        assert list_entries(TarReader(archive, len(content))) == [("x", "a file", "")]
        with pytest.raises(ValueError, match="error"):
            list_entries(TarReader(unpacked(ZSTD, io.BytesIO(stored[:9] + b"?" * 99), "a test"), len(content)))
    else:
        with pytest.raises(ImageError, match="compressed with zstd can't be read here; install the package zstandard"):
            unpacked(ZSTD, io.BytesIO(), "a test")


@pytest.mark.parametrize("damage", [b"\x1f\x8b", b"no gzip at all", gzip.compress(bytes(2000), mtime=0)[:-9]])
def test_damaged_compression(damage):
    """It is an error that the boundary knows."""
    archive = unpacked(GZIP, io.BytesIO(damage), "a test")
    with pytest.raises(FAILURES):
        list(iter(lambda: archive.read(1 << 20), b""))
