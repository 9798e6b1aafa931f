"""Layers: the same bits everywhere, one pass, and nothing that is not in the manifest."""

import hashlib
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from datapack import __version__
from datapack.bag.bagit import PayloadFile
from datapack.errors import MismatchError
from datapack.image.layers import Layer, LayerContent, Member, data_layers, program_layer, tag_layer, tree
from datapack.image.program import EARLIER, program_digest
from datapack.oci.blob import UNOBSERVED, Blob
from datapack.oci.spec import canonical_json

PROGRAM = {"0.2.0": "sha256:777af9cbfb0b82cda02e78d21a3154f3cb8d6ba6e8a63a5cfc79602f754cf1e1"}
CONTENTS = {"data/b.png": b"two", "data/a.png": b"one", "data/deep/ö.png": b"", "data/" + "x" * 120 + ".png": b"long"}


def write(layer: Layer) -> tuple[str, bytes]:
    out = io.BytesIO()
    return Blob(layer.media_type, layer.size, "", LayerContent(layer)).write(out), out.getvalue()


def make_bag(folder: Path, contents: dict[str, bytes]) -> list[PayloadFile]:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [PayloadFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in contents.items()]


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    (made,) = data_layers([make_bag(tmp_path, CONTENTS)], tmp_path, "dataset/reef")
    return made


def test_golden_digest(layer):
    """The bits of a layer are part of the format: if this value changes, every image changes."""
    assert write(layer)[0] == "sha256:35134495fb7d74f14b7774ba197eaf176aba2bf243849cbf4f3068a4ff75d543"


def test_what_the_disk_says_does_not_matter(tmp_path):
    """Modes, times, owners and the order of creation leave no trace in the layer."""
    first, second = tmp_path / "first", tmp_path / "second"
    files = make_bag(first, CONTENTS)
    make_bag(second, dict(reversed(CONTENTS.items())))
    for path in second.rglob("*.png"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    (one,), (two,) = (data_layers([files], bag, "dataset/reef") for bag in (first, second))
    assert one.key == two.key
    assert write(one) == write(two)


def test_size_is_known_before_a_byte_is_read(layer):
    """The planned size equals the written size, even with long names."""
    assert layer.size == len(write(layer)[1])


def test_digest_is_that_of_the_bytes(layer):
    """The digest is the sha256 of the archive."""
    digest, content = write(layer)
    assert digest == "sha256:" + hashlib.sha256(content).hexdigest()


def test_archive_is_plain(layer):
    """Root owns everything, only folders are writable, by root, times are 0, and each parent comes once, first."""
    with tarfile.open(fileobj=io.BytesIO(write(layer)[1])) as archive:
        members = archive.getmembers()
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
        assert {m.mode for m in members if m.isfile()} == {0o444}
        assert {m.mode for m in members if m.isdir()} == {0o755}
        names = [m.name for m in members]
        assert names == [*sorted(names, key=str.encode)]
        assert len(names) == len(set(names))
        assert names[:3] == ["dataset", "dataset/reef", "dataset/reef/data"]
        for name, content in CONTENTS.items():
            assert archive.extractfile(f"dataset/reef/{name}").read() == content


def test_gnu_tar_reads_it(layer, tmp_path):
    """The system's tar lists the same names."""
    (tmp_path / "layer.tar").write_bytes(write(layer)[1])
    listed = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", "layer.tar"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert {f"dataset/reef/{name}" for name in CONTENTS} <= set(listed.stdout.split("\n"))


def test_pax_headers_only_where_a_name_needs_them():
    """A plain name has one header block; a long or non-ASCII name has PAX records before it."""
    assert len(Member("a", 0o444, 1, "", b"x").header()) == 512
    assert len(Member("d/" * 49 + "a" * 90, 0o444, 1, "", b"x").header()) == 512  # USTAR's prefix holds it
    assert len(Member("a" * 200, 0o444, 1, "", b"x").header()) == 1536
    assert len(Member("ö", 0o444, 1, "", b"x").header()) == 1536
    assert len(Member("a", 0o444, 9 << 30, "", b"x").header()) == 1536


@pytest.mark.parametrize("content", [b"One", b"on", b"one more"], ids=["flipped", "short", "long"])
def test_a_file_that_differs_stops_the_writing(layer, tmp_path, content):
    """A file that differs from the manifest is named, with what was expected and what was found."""
    (tmp_path / "data/a.png").write_bytes(content)
    with pytest.raises(MismatchError, match=r"data/a\.png: the file differs from the bag's manifest: expected .*found"):
        write(layer)


def test_a_file_that_is_gone_stops_the_writing(layer, tmp_path):
    """A file that disappeared is named."""
    (tmp_path / "data/a.png").unlink()
    with pytest.raises(MismatchError, match=r"data/a\.png: a file of the bag can't be read: found No such file"):
        write(layer)


def test_a_link_in_place_of_a_file_stops_the_writing(layer, tmp_path):
    """A link is not followed, whatever it points to."""
    (tmp_path / "data/a.png").rename(tmp_path / "one")
    (tmp_path / "data/a.png").symlink_to(tmp_path / "one")
    with pytest.raises(MismatchError, match=r"data/a\.png"):
        write(layer)


def test_each_correct_file_is_reported(layer, tmp_path, monkeypatch):
    """`found` is called for every file on disk, with its stat and its hash."""
    reported = {}
    monkeypatch.setattr(
        UNOBSERVED, "found", lambda source, stat, sha256: reported.update({source: (stat.size, sha256)})
    )
    write(layer)
    assert reported == {str(tmp_path / n): (len(c), hashlib.sha256(c).hexdigest()) for n, c in CONTENTS.items()}


def test_key_follows_the_content(layer):
    """A different name, mode, size or hash gives a different key; a different folder on disk does not."""
    *others, last = layer.members
    for change in ({"name": "other"}, {"mode": 0o555}, {"size": 9}, {"sha256": "0" * 64}):
        other = Layer(layer.purpose, (*others, last._replace(**change)))
        assert other.key != layer.key
    assert Layer("another purpose", layer.members).key == layer.key


def test_parents_are_written_once():
    """A folder comes once, before its files, however many there are."""
    members = tree(Member(name, 0o444, 0, "", b"") for name in ("a/b/2", "a/b/1", "a/c"))
    assert [m.name for m in members] == ["a/", "a/b/", "a/b/1", "a/b/2", "a/c"]


def test_program_layer_holds_the_program_and_the_mounts():
    """The files of the program are executable and not writable; the three mount points are empty folders."""
    members = {m.name: m for m in program_layer().members}
    assert {"safe_data/", "safe_outputs/", "scratch/"} < members.keys()
    for name in ("usr/local/bin/import", "usr/local/bin/import-batch", "usr/local/bin/import-json"):
        assert members[name].mode == 0o555
        assert members[name].source.startswith(b"#!/bin/sh\n")


def test_a_changed_program_has_another_version():
    """The program's version says which release brought it, so each version has one digest.

    If this fails, you changed a file of the program. If a release had that version, raise VERSION in import.sh and add
    the digest that you find here to EARLIER in datapack/image/program.py. Then give the new ones here.
    """
    program = next(m.source for m in program_layer().members if m.name == "usr/local/bin/import")
    (version,) = re.findall(r"^VERSION=(\S+)", program.decode(), re.MULTILINE)
    assert {version: program_digest()} == PROGRAM
    assert program_digest() not in EARLIER
    assert [int(part) for part in version.split(".")] <= [int(part) for part in __version__.split(".")]


def test_tag_layer_holds_the_tag_files():
    """The tag files come from memory."""
    digest, content = write(tag_layer({"bagit.txt": b"x"}, "dataset/reef"))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.extractfile("dataset/reef/bagit.txt").read() == b"x"
    assert digest.startswith("sha256:")


def test_folders_stand_where_sorting_puts_them(tmp_path):
    """Members are made one after another, in the order that sorting all their names by bytes would give."""
    names = ["a", "a-b/x", "a.b", "a/b-c/1", "a/b/1", "a/b/2", "a/b0", "a0/b/c/d/e", "b/c", "b/c.d/e", "ö/ä", "ö/ä.b/x"]
    names = [name for name in names if name not in {"a", "b/c"}]
    files = [PayloadFile(f"data/{name}", 1, "0" * 64) for name in reversed(names)]
    (layer,) = data_layers([files], tmp_path, "dataset/reef")
    members = [member.name for member in layer.members]
    assert members == sorted(members, key=str.encode)
    folders = {"/".join(("dataset/reef/data/" + name).split("/")[:n]) + "/" for name in names for n in range(1, 12)}
    wanted = {f"dataset/reef/data/{name}" for name in names}
    assert set(members) == wanted | {folder for folder in folders if folder[:-1] not in wanted}
    assert len(members) == len(set(members))


def test_key_of_many_members_is_that_of_one_text(monkeypatch, layer):
    """The text is hashed in pieces; the key is as if it were one, so that known layers stay known."""
    whole = layer.key
    for size in (1, 2, 3):
        monkeypatch.setattr("datapack.image.layers._CHUNK", size)
        assert Layer(layer.purpose, layer.members).key == whole
    content = [(member.name, member.mode, member.size, member.sha256) for member in layer.members]
    assert whole == hashlib.sha256(canonical_json(content)).hexdigest()
