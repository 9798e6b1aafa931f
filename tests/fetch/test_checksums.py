"""Checksums as publishers give them: sha256, sha1, md5, and git's hash of a file."""

import hashlib
import subprocess

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import UrlSource
from datapack.download import Downloader, Request
from datapack.errors import FetchError
from datapack.hashing import GIT_BLOB, Checksum, hash_files
from tests.servers import Reply, Server
from tests.workplace import Workplace

CONTENT = b"hello" * 50_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
DIGITS = {"sha1": hashlib.sha1(CONTENT).hexdigest(), "md5": hashlib.md5(CONTENT).hexdigest()}
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    with Server({"/a.bin": Reply(CONTENT)}) as running:
        yield running


@pytest.mark.parametrize("algorithm", DIGITS)
def test_another_checksum_than_sha256_is_checked_while_the_file_arrives(place, server, algorithm):
    """The manifest has the sha256 all the same; digits may be in upper case."""
    source = UrlSource(url=f"{server.url}/a.bin", **{algorithm: DIGITS[algorithm].upper()})
    assert place.fetch(source).hashes == {"data/a.bin": DIGEST}


@pytest.mark.parametrize("algorithm", DIGITS)
def test_a_wrong_checksum_is_tried_again_and_fails(place, server, algorithm):
    """The error names the algorithm and both values, and no file is left."""
    wrong = "0" * len(DIGITS[algorithm])
    with pytest.raises(FetchError, match=rf"wrong {algorithm} \(expected {wrong}, found {DIGITS[algorithm]}\)"):
        place.fetch(UrlSource(url=f"{server.url}/a.bin", **{algorithm: wrong}))
    assert server.requests["/a.bin"] == 2
    assert place.hashes() == {}


def test_a_file_that_is_right_at_the_second_try_arrives(place, server):
    """A damaged transfer is repeated."""
    server.reply("/a.bin", [Reply(b"damaged"), Reply(CONTENT)])
    assert place.fetch(UrlSource(url=f"{server.url}/a.bin", md5=DIGITS["md5"])).hashes == {"data/a.bin": DIGEST}


@pytest.mark.parametrize("algorithm", DIGITS)
def test_a_kept_file_is_checked_with_a_checksum_that_was_added_later(place, server, algorithm):
    """Its sha256 is known, which says nothing about another checksum: the right file is kept, the wrong one is not."""
    url = f"{server.url}/a.bin"
    place.fetch(UrlSource(url=url))
    place.fetch(UrlSource(url=url, **{algorithm: DIGITS[algorithm]}))
    assert server.requests["/a.bin"] == 1
    with pytest.raises(FetchError, match=f"wrong {algorithm}"):
        place.fetch(UrlSource(url=url, **{algorithm: "0" * len(DIGITS[algorithm])}))
    assert server.requests["/a.bin"] == 3
    assert place.hashes() == {}


def test_a_kept_file_that_was_changed_is_fetched_again(place, server):
    """Even one with the same size and an old time."""
    source = UrlSource(url=f"{server.url}/a.bin", md5=DIGITS["md5"])
    place.fetch(source)
    path = place.bag / "data/a.bin"
    path.write_bytes(b"X" + CONTENT[1:])
    assert place.fetch(source).hashes == {"data/a.bin": DIGEST}
    assert server.requests["/a.bin"] == 2


def test_gits_hash_is_the_one_of_git(tmp_path, server):
    """A file is checked with it while it arrives, and again on disk."""
    (tmp_path / "a.bin").write_bytes(CONTENT)
    found = subprocess.run(["git", "hash-object", tmp_path / "a.bin"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == BLOB
    assert list(hash_files(tmp_path, ["a.bin"], algorithm=GIT_BLOB)) == [("a.bin", BLOB)]
    request = Request((f"{server.url}/a.bin",), tmp_path / "b.bin", Checksum(GIT_BLOB, BLOB), size=len(CONTENT))
    fetcher = Downloader(is_public=lambda ip: True, backoff=lambda tries: 0.01)
    assert fetcher.fetch([request], "a file") == []
    wrong = Request((f"{server.url}/a.bin",), tmp_path / "c.bin", Checksum(GIT_BLOB, "0" * 40), size=len(CONTENT))
    failure = Downloader(is_public=lambda ip: True, backoff=lambda tries: 0.01).fetch([wrong], "a file")[0]
    assert failure.reason == f"wrong git blob sha1 (expected {'0' * 40}, found {BLOB})"


def test_a_resumed_file_has_all_its_checksums(place, server):
    """Both hashes go on where the transfer was cut."""
    cut = {"ETag": '"one"'}
    rest = Reply(
        CONTENT[100_000:],
        status=206,
        headers={**cut, "Content-Range": f"bytes 100000-{len(CONTENT) - 1}/{len(CONTENT)}"},
    )
    server.reply("/a.bin", [Reply(CONTENT, headers=cut, cut=100_000), rest])
    assert place.fetch(UrlSource(url=f"{server.url}/a.bin", sha1=DIGITS["sha1"])).hashes == {"data/a.bin": DIGEST}
    assert server.headers[1]["Range"] == "bytes=100000-"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"md5": "x"}, "not a md5: expected 32 hexadecimal digits"),
        ({"md5": "0" * 31}, "expected 32 hexadecimal digits, found 31"),
        ({"sha1": "0" * 41}, "expected 40 hexadecimal digits, found 41"),
        ({"sha1": "0" * 40, "md5": "0" * 32}, "more than one checksum"),
    ],
)
def test_an_invalid_checksum_is_refused(fields, message):
    """The error comes when the catalog is read."""
    with pytest.raises(ValidationError, match=message):
        UrlSource(url="https://example.org/a", **fields)
