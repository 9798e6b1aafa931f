"""The bag: other tools accept it as BagIt 1.0, and an incomplete one is refused."""

import contextlib
import hashlib
import os
import subprocess
import sys

import bagit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapack.bag.bagit import Bag, check_declaration, info_fields, parse_info, parse_oxum, reread_tags, write_tags
from datapack.bag.fetch_txt import parse_fetch
from datapack.bag.listing import list_payload
from datapack.bag.manifest import Manifest
from datapack.errors import BagError, ManifestError
from datapack.hashing import hash_files


@pytest.fixture
def folder(tmp_path):
    """A bag of three files, one of them downloaded."""
    for name, content in (("a.png", b"one"), ("deep/b c%20.png", b"two"), ("deep/ö.png", b"")):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    listing = list_payload(tmp_path)
    manifest = Manifest.of(dict(hash_files(tmp_path, listing.files)))
    facts = {"Licence": "CC0-1.0", "Contact-Name": None, "External-Description": "Two\nlines"}
    urls = {"data/a.png": "https://example.org/a b%20c.png", "data/deep/b c%20.png": "https://example.org/b"}
    write_tags(tmp_path, manifest, listing, info_fields("reef@v1", facts), urls)
    return tmp_path


def test_bagit_validates_it(folder):
    """The Library of Congress's program accepts the bag."""
    done = subprocess.run(
        [sys.executable, "-m", "bagit", "--validate", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_sha256sum_accepts_it(folder):
    """sha256sum -c passes for the manifest and the tag manifest."""
    for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", name], cwd=folder, check=True)


def test_tag_files_are_reproducible(folder):
    """No tag file changes from run to run."""
    assert (folder / "bagit.txt").read_text() == "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    assert (folder / "bag-info.txt").read_text() == (
        "External-Description: Two lines\nExternal-Identifier: reef@v1\nLicence: CC0-1.0\nPayload-Oxum: 6.3\n"
    )
    assert (folder / "fetch.txt").read_text() == (
        "https://example.org/a%20b%20c.png 3 data/a.png\nhttps://example.org/b 3 data/deep/b c%2520.png\n"
    )


def test_open_reads_no_payload(folder):
    """Names, sizes and tag files are enough to open a bag."""
    bag = Bag.open(folder)
    assert (bag.files, bag.bytes, bag.info["External-Identifier"]) == (3, 6, "reef@v1")
    assert set(bag.tags) == {"bagit.txt", "bag-info.txt", "fetch.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"}


def test_digest_depends_only_on_the_payload(folder):
    """Other metadata and URLs change the tag manifest, but not the dataset digest."""
    before = Bag.open(folder)
    write_tags(folder, before.manifest, before.listing, info_fields("reef@v1", {"Licence": "another"}), {})
    after = Bag.open(folder)
    assert after.manifest.digest == before.manifest.digest
    assert "fetch.txt" not in after.tags
    assert after.tags["tagmanifest-sha256.txt"] != before.tags["tagmanifest-sha256.txt"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("bag-info.txt", b"External-Identifier: other@v1\n", "bag-info.txt: the tag file is damaged"),
        ("manifest-sha256.txt", b"", "manifest-sha256.txt: the tag file is damaged"),
        ("data/a.png", b"longer", "the payload's size differs from bag-info.txt: expected 6.3, found 9.3"),
        ("data/new", b"", "1 extra, such as data/new"),
    ],
)
def test_incomplete_bag_is_not_opened(folder, name, content, says):
    """A damaged tag file, another size and another file are each named."""
    (folder / name).write_bytes(content)
    with pytest.raises(BagError) as error:
        Bag.open(folder)
    assert says in str(error.value)


@pytest.mark.parametrize("name", ["bag-info.txt", "bagit.txt", "tagmanifest-sha256.txt", "manifest-sha256.txt"])
def test_bag_without_a_tag_file_is_refused(folder, name):
    """Every tag file must exist, also where the tag manifest does not name it."""
    (folder / name).unlink()
    with pytest.raises(BagError, match=f"{name}: can't read the file: found No such file"):
        Bag.open(folder)
    if name != "tagmanifest-sha256.txt":
        reseal(folder)
        with pytest.raises(BagError, match=f"a tag file is missing: found no {name}"):
            Bag.open(folder)


def reseal(folder):
    """Make the tag manifest agree with the tag files that are there."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "tagmanifest-sha256.txt")
    lines = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / "tagmanifest-sha256.txt").write_text("".join(lines))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("bagit.txt", b"BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n", "not a datapack bag"),
        ("bagit.txt", b"", "not a datapack bag"),
        ("bag-info.txt", b"Payload-Oxum: 6.3\nTitle: gr\xf6\xdfe\n", "bag-info.txt:2: not UTF-8"),
        ("fetch.txt", b"https://example.org/a 3 ../../etc/passwd\n", "fetch.txt:1: the file name '../../etc/passwd'"),
        ("other.txt", b"", "its tag manifest names another file: found other.txt"),
    ],
)
def test_a_bag_that_datapack_would_not_write_is_not_opened(folder, name, content, says):
    """Also if its tag manifest agrees: what is opened goes into an image."""
    (folder / name).write_bytes(content)
    reseal(folder)
    with pytest.raises((BagError, ManifestError)) as error:
        Bag.open(folder)
    assert says in str(error.value)


@pytest.mark.parametrize("kind", ["link", "fifo", "huge"])
@pytest.mark.parametrize("name", ["bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"])
def test_a_tag_file_is_a_small_regular_file(folder, name, kind):
    """A link is not followed, a FIFO is not waited for, and a sparse file of a terabyte is not read."""
    path = folder / name
    path.rename(folder.parent / "moved")
    if kind == "link":
        path.symlink_to(folder.parent / "moved")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"")
        os.truncate(path, 1 << 40)
    for read in (Bag.open, Manifest.read) if name.startswith("manifest") else (Bag.open,):
        with pytest.raises((BagError, ManifestError), match=r"not a regular file|the file is too large"):
            read(folder)


def test_bag_info_is_read_as_bagit_py_reads_it(tmp_path):
    """Folded lines are one value, of several values the first counts, and reserved labels have no case."""
    content = b"Title: one\n  two\n\tthree\r\nTitle: other\nPAYLOAD-OXUM: 1.2\nURL:https://example.org\n\n"
    (tmp_path / "bag-info.txt").write_bytes(content)
    fields = bagit._load_tag_file(tmp_path / "bag-info.txt", "utf-8")
    ours = parse_info(content)
    assert ours == {"Title": "one two three", "Payload-Oxum": "1.2", "URL": "https://example.org"}
    assert " ".join(fields["Title"][0].split()) == ours["Title"]


@given(st.binary(max_size=60) | st.text("A: \n\t\r\u2028\x85é").map(str.encode))
def test_any_tag_file_is_read_or_refused_in_one_line(content):
    """Whatever is in bagit.txt, bag-info.txt, fetch.txt or a manifest, no other error is raised."""
    for parse in (parse_info, check_declaration, parse_fetch, Manifest.parse):
        with contextlib.suppress(BagError, ManifestError):
            parse(content)


@pytest.mark.parametrize("text", ["1.2", "01.002"])
def test_an_oxum_is_two_numbers(text):
    assert parse_oxum({"Payload-Oxum": text}) == (1, 2)


@pytest.mark.parametrize("text", ["", "1", "1.", "1.2.3", "-1.2", "².2", "1. 2", "9" * 5000 + ".1"])
def test_an_oxum_of_anything_else_is_none(text):
    """Other digits, and more than a number of 64 bits has, are not numbers here."""
    assert parse_oxum({"Payload-Oxum": text}) is None


def test_tag_manifest_cannot_name_files_elsewhere(folder):
    """Only tag files below the bag are read."""
    (folder / "tagmanifest-sha256.txt").write_text(f"{'0' * 64}  ../secret\n")
    with pytest.raises(ManifestError, match="is not allowed"):
        Bag.open(folder)


def test_urls_survive_a_failure_while_the_tags_are_written(folder, monkeypatch):
    """The next run needs the URLs in ``fetch.txt`` to use the files that are here."""
    bag, before = Bag.open(folder), (folder / "fetch.txt").read_bytes()

    def no_space(_):
        yield b""
        raise OSError

    monkeypatch.setattr(Manifest, "lines", no_space)
    with pytest.raises(OSError):
        write_tags(folder, bag.manifest, bag.listing, bag.info, {"data/a.png": "https://example.org/a"})
    assert (folder / "fetch.txt").read_bytes() == before


def test_written_bag_is_the_one_that_is_opened(folder):
    """Writing the tags returns what reading them gives."""
    bag = Bag.open(folder)
    urls = parse_fetch((folder / "fetch.txt").read_bytes())
    info = {name: value for name, value in bag.info.items() if name != "Payload-Oxum"}
    assert write_tags(folder, bag.manifest, bag.listing, info, urls) == bag


def test_tag_file_that_changed_since_the_bag_was_opened_is_refused(folder):
    """An image gets the tag files that were checked, or none."""
    bag = Bag.open(folder)
    assert reread_tags(bag)["fetch.txt"] == (folder / "fetch.txt").read_bytes()
    with (folder / "bag-info.txt").open("a") as file:
        file.write("Contact-Name: another\n")
    with pytest.raises(BagError, match=r"bag-info.txt: the tag file is damaged"):
        reread_tags(bag)
