"""Archives: what programs read differently, and what is no file at all, is one clear line."""

from __future__ import annotations

import io
import json
import os
import tarfile

import pytest

from datapack.errors import ImageError
from datapack.oci.archive import Archive, blob_name
from datapack.oci.image import read_image, read_json
from datapack.oci.layout import Layout
from tests.conftest import make_base


@pytest.fixture
def members(tmp_path) -> dict[str, bytes]:
    """The files of an archive with an image."""
    make_base(tmp_path / "image")
    root = tmp_path / "image"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image.tar"


def member(name: str, content: bytes = b"", form: bytes = tarfile.REGTYPE, **values: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), form
    for key, value in values.items():
        setattr(info, key, value)
    header = info.tobuf(tarfile.PAX_FORMAT if info.pax_headers else tarfile.GNU_FORMAT)
    return header + content + bytes(-len(content) % 512)


def write(path, members: dict[str, bytes], *more: bytes) -> None:
    path.write_bytes(b"".join([*(member(name, content) for name, content in members.items()), *more]) + bytes(1024))


def test_an_archive_of_another_program(members, path):
    """Names may begin with a dot or a slash, folders may be there or not: it is the same image."""
    for form in ("./{}", "/{}", ".//{}", "{}"):
        write(path, {form.format(name): content for name, content in members.items()}, member("d/", form=b"5"))
        archive = Archive.find(path)
        assert read_image(archive, archive.image(), "a test").layers


def header(name: str, magic: bytes, prefix: bytes) -> bytes:
    """A header with a prefix, which only some programs read."""
    block = bytearray(member(name)[:512])
    block[257:265], block[345 : 345 + len(prefix)] = magic, prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


TWICE = {
    "twice": member("index.json", b"{}"),
    "with a dot": member("./index.json", b"{}"),
    "with a slash": member("//index.json", b"{}"),
    "through two dots": member("x/../index.json", b"{}"),
    "a symbolic link": member("index.json", form=tarfile.SYMTYPE, linkname="x"),
    "a hard link": member("x", form=tarfile.LNKTYPE, linkname="index.json"),
    "a FIFO": member("x", form=tarfile.FIFOTYPE),
    "a device": member("x", form=tarfile.CHRTYPE),
    "a sparse file": member("x", form=tarfile.GNUTYPE_SPARSE),
    "a sparse file in records": member("x", b"x", pax_headers={"GNU.sparse.major": "1"}),
    "a prefix that Go does not read": header("index.json", b"ustar  \0", b"elsewhere"),
    "a prefix without a magic": header("index.json", bytes(8), b"elsewhere"),
    "two records": member("x", form=tarfile.XHDTYPE) + member("x", form=tarfile.XHDTYPE) + member("y"),
    "a long name and a record": member("L", b"index.json\0", b"L") + member("y", b"x", pax_headers={"path": "z"}),
    "a malformed record": member("x", b"11 path=abc", tarfile.XHDTYPE) + member("y"),
    "a record of no length": member("x", b"path=abc\n", tarfile.XHDTYPE) + member("y"),
    "a record that is too long": member("x", b"99 path=abc\n", tarfile.XHDTYPE) + member("y"),
    "records without a file": member("x", b"12 path=abc\n", tarfile.XHDTYPE),
    "a size in a record": member("y", b"x", pax_headers={"size": "9999999999"}),
    "a negative size": member("y", b"x", pax_headers={"size": "-1"}),
    "an endless name": member("L", b"x" * 5000, b"L") + member("y"),
    "a zero byte in a name": member("y", b"x", pax_headers={"path": "a\0b"}),
    "records of 2 MB": member("x", bytes(2 << 20), tarfile.XHDTYPE) + member("y"),
    "a name of 2 MB": member("x", b"a" * (2 << 20), tarfile.GNUTYPE_LONGNAME) + member("y"),
    "no name": member("", b"x"),
}


@pytest.mark.parametrize("more", TWICE.values(), ids=TWICE.keys())
def test_what_programs_read_differently(members, path, more):
    """An archive must hold the same files for every program."""
    write(path, members, more)
    with pytest.raises(ImageError, match=r"image\.tar: not an archive: expected an uncompressed tar file, found "):
        Archive.find(path)


def test_docker_load_must_find_the_same_image(members, path):
    """`docker load` reads a list of its own: it must name the index's image."""
    write(path, members)
    archive = Archive.find(path)
    manifest = read_json(archive, archive.image())
    named = {
        "Config": blob_name(manifest["config"]["digest"]),
        "RepoTags": ["a:b"],
        "Layers": [blob_name(layer["digest"]) for layer in manifest["layers"]],
    }
    write(path, {**members, "manifest.json": json.dumps([named]).encode()})
    assert Archive.find(path).image() == archive.image()
    other = blob_name("sha256:" + "0" * 64)
    for wrong in (
        [{**named, "Config": other}],
        [{**named, "Layers": [*named["Layers"], other]}],
        [{**named, "Layers": []}],
        [{**named, "config": other}],
        [named, {**named, "Config": other}],
        [None],
        {},
        7,
    ):
        write(path, {**members, "manifest.json": json.dumps(wrong).encode()})
        with pytest.raises(ImageError, match="docker load would load another image"):
            Archive.find(path).image()
    write(path, {**members, "repositories": b"{}"})
    with pytest.raises(ImageError, match="docker load would load another image"):
        Archive.find(path).image()


@pytest.mark.parametrize("what", ["a FIFO", "a folder", "a device"])
@pytest.mark.timeout(10)
def test_what_is_no_file(tmp_path, path, what):
    """Nothing waits for a FIFO or reads a device: not in place of an archive, of an index or of a blob."""
    make_base(tmp_path / "image")
    layout = Layout(tmp_path / "image")
    image, blob = layout.image(), layout.blob(layout.image().digest)
    for place in (path, blob, layout.index):
        place.unlink(missing_ok=True)
        if what == "a FIFO":
            os.mkfifo(place)
        elif what == "a folder":
            place.mkdir()
        else:
            place.symlink_to("/dev/zero")
    with pytest.raises(ImageError, match=r"image\.tar: not a regular file"):
        Archive.find(path)
    with pytest.raises(ImageError, match=f"{blob.name}: not a regular file"):
        read_image(layout, image, "a test")
    with pytest.raises(ImageError, match=r"index\.json: not an OCI layout: not a regular file"):
        layout.image()


def test_an_index_without_an_end(tmp_path, path):
    """No more of a part is read than its limit."""
    make_base(tmp_path / "image")
    layout = Layout(tmp_path / "image")
    with layout.index.open("ab") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(ImageError, match=r"index\.json: not an OCI layout: the file is too large"):
        layout.image()
    path.write_bytes(member("index.json", b" " * (5 << 20)) + bytes(1024))
    with pytest.raises(ImageError, match="not a part of an image"):
        Archive.find(path).image()


def test_a_compressed_archive(members, path):
    """It is no archive: its parts can't be read in place."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("index.json"))
    path.write_bytes(out.getvalue())
    with pytest.raises(ImageError, match="expected an uncompressed tar file"):
        Archive.find(path)
