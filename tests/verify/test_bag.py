"""Bags on disk: ours and those of other tools, sound and malformed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import unicodedata

import pytest

from datapack.progress import Silent
from datapack.verify.bag import verify_bag
from tests.verify.any_bag import FILES, A, is_valid, make, problem, reseal


@pytest.fixture(params=["ours", "bagit.py", "md5"])
def bag(request, tmp_path):
    return make(tmp_path / "bag", request.param)


def test_sound_bags_of_any_tool_are_verified(bag):
    """Every byte of it, and of its tag files; only datapack's own manifest has a dataset digest."""
    verified = str(verify_bag(bag, "full", Silent()))
    digest = hashlib.sha256((bag / "manifest-sha256.txt").read_bytes()).hexdigest()
    assert f"verified, every byte: {bag}: 4 files, 11 B, sha256:{digest}" in verified
    assert is_valid(bag)


VARIANTS = {
    "one space, as bagit.py's tag manifests": lambda text: text.replace("  ", " ", 1),
    "the mark of md5sum --binary": lambda text: text.replace("  ", " *", 1),
    "tabs": lambda text: text.replace("  ", "\t", 1),
    "other line ends": lambda text: text.replace("\n", "\r\n"),
    "capital digits": lambda text: text[:64].upper() + text[64:],
    "no line end": lambda text: text.removesuffix("\n"),
    "another order": lambda text: "".join(reversed(text.splitlines(keepends=True))),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_manifests_in_another_form_are_verified(tmp_path, name):
    """Whatever form RFC 8493 allows; the digest is then said to be that of the manifest, not of a dataset."""
    bag = make(tmp_path, "ours")
    manifest = bag / "manifest-sha256.txt"
    with manifest.open("r+", newline="") as file:
        text = VARIANTS[name](file.read())
        file.seek(0)
        file.truncate()
        file.write(text)
    reseal(bag)
    assert is_valid(bag)
    *_, note = str(verify_bag(bag, "full", Silent())).splitlines()
    assert note == "another tool wrote this bag: the digest is that of its manifest-sha256.txt, not of a dataset"


def test_a_bag_without_tag_manifest_is_verified_as_far_as_it_goes(tmp_path):
    """RFC 8493 does not require one; that nothing protects the tag files is said."""
    bag = make(tmp_path, "ours")
    (bag / "tagmanifest-sha256.txt").unlink()
    (bag / "bag-info.txt").write_text("Title: A title\n  in two lines\npayload-oxum: 11.4\n")
    assert is_valid(bag)
    assert str(verify_bag(bag, "full", Silent())).splitlines()[1:] == [
        "it has no tag manifest: of its other files, such as bag-info.txt, nothing is known"
    ]
    (bag / "bag-info.txt").unlink()
    assert not problem(bag)
    (bag / "bag-info.txt").write_text("payload-oxum: 12.4\n")
    assert "bag-info.txt says Payload-Oxum 12.4, the payload has 11.4" in problem(bag)


NO_MARK = "expected no byte-order mark"
TWO_LINES = "bagit.txt: not a bag: expected the two lines 'BagIt-Version: 1.0' and 'Tag-File-Character-Encoding: UTF-8'"
MALFORMED = {
    "bagit.txt missing": ("bagit.txt", None, "bagit.txt: can't read the file: found No such file"),
    "bagit.txt empty": ("bagit.txt", b"", TWO_LINES + ", found nothing"),
    "bagit.txt with a byte-order mark": (
        "bagit.txt",
        "\ufeffBagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n".encode(),
        NO_MARK,
    ),
    "bagit.txt of version 2.0": (
        "bagit.txt",
        b"BagIt-Version: 2.0\nTag-File-Character-Encoding: UTF-8\n",
        "a BagIt version that datapack does not know: expected 0.97 or 1.0, found 2.0",
    ),
    "bagit.txt of another encoding": (
        "bagit.txt",
        b"BagIt-Version: 1.0\nTag-File-Character-Encoding: latin-1\n",
        "expected UTF-8, found latin-1",
    ),
    "bagit.txt in UTF-16": (
        "bagit.txt",
        "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n".encode("utf-16"),
        "bagit.txt:1: not UTF-8",
    ),
    "bagit.txt with a third line": (
        "bagit.txt",
        b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\nX: 1\n",
        TWO_LINES,
    ),
    "bagit.txt the wrong way round": (
        "bagit.txt",
        b"Tag-File-Character-Encoding: UTF-8\nBagIt-Version: 1.0\n",
        TWO_LINES,
    ),
    "bag-info.txt in Latin-1": ("bag-info.txt", "Title: größe\n".encode("latin-1"), "bag-info.txt:1: not UTF-8"),
    "bag-info.txt without a label": ("bag-info.txt", b"A: b\nno label\n", "bag-info.txt:2: not a field"),
    "Payload-Oxum of nonsense": ("bag-info.txt", b"Payload-Oxum: many\n", "says Payload-Oxum many"),
    "Payload-Oxum of 5,000 digits": (
        "bag-info.txt",
        b"Payload-Oxum: " + b"9" * 5000 + b".1\n",
        "says Payload-Oxum 999",
    ),
    "a wrong second manifest": (
        "manifest-md5.txt",
        "".join(f"{'0' * 32}  data/{name}\n" for name in FILES).encode(),
        "changed  data/a.png",
    ),
    "an incomplete second manifest": (
        "manifest-md5.txt",
        f"{hashlib.md5(b'one').hexdigest()}  data/a.png\n".encode(),
        "unlisted data/Z, in manifest-md5.txt",
    ),
    "a manifest of an unknown kind": ("manifest-crc32.txt", b"", "manifest-crc32.txt: a manifest of an unknown kind"),
    "a manifest without a fixed length": ("manifest-shake_128.txt", b"", "a manifest of an unknown kind"),
    "a wrong second tag manifest": ("tagmanifest-md5.txt", f"{'0' * 32} bagit.txt\n".encode(), "changed  bagit.txt"),
    "a tag manifest of the payload": ("tagmanifest-md5.txt", f"{'0' * 32} data/a.png\n".encode(), "is not allowed"),
    "an empty manifest": ("manifest-sha256.txt", b"", "the bag is empty"),
    "a manifest of other files": ("manifest-sha256.txt", f"{A}  bagit.txt\n".encode(), "allowed: found bagit.txt"),
    "a manifest line without a path": ("manifest-sha256.txt", f"{A}\n".encode(), "manifest-sha256.txt:1: not a manif"),
    "a manifest with a comment": ("manifest-sha256.txt", b"# a comment\n", "manifest-sha256.txt:1: not a manifest"),
    "a short hash": ("manifest-sha256.txt", f"{A[:63]}  data/a.png\n".encode(), "expected 64 hex digits"),
    "a file named twice": ("manifest-sha256.txt", f"{A}  data/a.png\n{A}  data/a.png\n".encode(), "is named twice"),
    "a manifest that leads out": ("manifest-sha256.txt", f"{A}  data/../../a\n".encode(), "an empty, '.' or '..' part"),
    "a manifest with a whiteout": (
        "manifest-sha256.txt",
        f"{A}  data/.wh.a\n".encode(),
        "a part that begins with '.wh.'",
    ),
    "fetch.txt that leads out": (
        "fetch.txt",
        b"https://example.org/a 3 ../../etc/passwd\n",
        "fetch.txt:1: the file name '../../etc/passwd' is not allowed",
    ),
    "fetch.txt that leads out in code": ("fetch.txt", b"https://example.org/a 3 data/%0A\n", "a control character"),
    "fetch.txt of a tag file": ("fetch.txt", b"https://example.org/a 3 bagit.txt\n", "a file outside the payload"),
    "fetch.txt of an unknown file": (
        "fetch.txt",
        b"https://example.org/a 3 data/new\n",
        "in no manifest: found data/new",
    ),
    "fetch.txt of garbage": ("fetch.txt", b"\x00\x01\x02\n", "fetch.txt:1: not a line of fetch.txt"),
    "fetch.txt without a URL": ("fetch.txt", b"a.png 3 data/a.png\n", "fetch.txt:1: not a line of fetch.txt"),
    "fetch.txt with a negative length": ("fetch.txt", b"https://e.org/a -3 data/a.png\n", "fetch.txt:1: not a line"),
    "fetch.txt with a blank line": ("fetch.txt", b"\n", "fetch.txt:1: not a line of fetch.txt"),
    "fetch.txt in Latin-1": ("fetch.txt", b"https://e.org/a 3 data/\xf6\n", "fetch.txt:1: not UTF-8"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_bag_is_refused_with_the_true_reason(tmp_path, name):
    """Whatever its tag manifest says."""
    bag = make(tmp_path, "ours")
    path, content, reason = MALFORMED[name]
    if content is None:
        (bag / path).unlink()
    else:
        (bag / path).write_bytes(content)
    if not path.startswith("tagmanifest-"):
        reseal(bag)
    assert reason in problem(bag)


TAGS = ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt")


@pytest.mark.parametrize("name", ["data", "data/deep", "data/a.png", *TAGS])
@pytest.mark.parametrize("kind", ["link", "fifo", "to /dev/zero"])
def test_no_part_of_a_bag_is_a_link_or_a_device(tmp_path, name, kind):
    """A link to the very same content is refused as well, and nothing waits or reads without an end."""
    bag = make(tmp_path / "bag", "ours")
    path = bag / name
    path.rename(tmp_path / "moved")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "moved" if kind == "link" else "/dev/zero")
    assert re.search("not a regular file|no folder 'data'|extra|changed|missing", problem(bag))


def test_a_tag_file_behind_a_linked_folder_is_not_read(tmp_path):
    """A tag manifest may name files in folders, but no link leads to them."""
    bag = make(tmp_path / "bag", "ours")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "x.txt").write_bytes(b"one")
    manifest = bag / "tagmanifest-sha256.txt"
    manifest.write_text(f"{manifest.read_text()}{A}  meta/x.txt\n")
    (bag / "meta").symlink_to(tmp_path / "meta")
    assert "missing  meta/x.txt" in problem(bag)
    (bag / "meta").unlink()
    shutil.move(tmp_path / "meta", bag / "meta")
    assert not problem(bag)


def test_a_bag_of_md5_proves_nothing(tmp_path):
    """Anyone can make two files with the same md5 or sha1."""
    bag = make(tmp_path, "md5")
    (bag / "manifest-sha256.txt").unlink()
    reseal(bag)
    assert is_valid(bag)
    assert "the bag proves nothing: anyone can make another file with the same md5 or sha1" in problem(bag)


def test_a_tag_file_has_a_limit(tmp_path):
    """A sparse tag file of a terabyte is refused before it is read."""
    bag = make(tmp_path, "ours")
    for name in ("bagit.txt", "bag-info.txt", "manifest-sha256.txt"):
        before = (bag / name).read_bytes()
        os.truncate(bag / name, 1 << 40)
        assert f"{name}: the file is too large: expected at most 268 MB, found 1.1 TB" in problem(bag)
        (bag / name).write_bytes(before)


def test_names_that_look_equal_are_told_apart(tmp_path):
    """A file whose name has another Unicode form is missing and extra: both lines spell it out."""
    bag = make(tmp_path, "ours")
    (bag / "data/deep/ö.png").rename(bag / unicodedata.normalize("NFD", "data/deep/ö.png"))
    assert problem(bag).splitlines()[1:] == [
        r"missing  data/deep/ö.png, spelled 'data/deep/\xf6.png'",
        "extra    data/deep/o\u0308.png, spelled 'data/deep/o\\u0308.png'",
    ]
