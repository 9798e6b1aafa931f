"""The bag: other tools accept it as BagIt 1.0, and an incomplete one is refused."""

import subprocess
import sys

import pytest

from datapack.bag.bagit import Bag, info_fields, write_tags
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


@pytest.mark.parametrize("name", ["bag-info.txt", "tagmanifest-sha256.txt", "manifest-sha256.txt"])
def test_bag_without_a_tag_file_is_refused(folder, name):
    """Every tag file must exist."""
    (folder / name).unlink()
    with pytest.raises(BagError, match=f"a tag file can't be read.*No such file|{name}"):
        Bag.open(folder)


def test_tag_manifest_cannot_name_files_elsewhere(folder):
    """Only tag files below the bag are read."""
    (folder / "tagmanifest-sha256.txt").write_text(f"{'0' * 64}  ../secret\n")
    with pytest.raises(ManifestError, match="is not allowed"):
        Bag.open(folder)
