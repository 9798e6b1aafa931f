"""One file from the web."""

import hashlib

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import UrlSource
from datapack.errors import FetchError
from tests.servers import Reply, Server
from tests.workplace import Workplace

DIGEST = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture
def server():
    with Server({"/a%20b.bin": Reply(b"hello"), "/x?id=1": Reply(b"hello")}) as running:
        yield running


def test_name_is_the_last_part_of_the_url(place, server):
    """Quoted characters of the URL are unquoted in the name."""
    payload = place.fetch(UrlSource(url=f"{server.url}/a%20b.bin", into="files"))
    assert payload.hashes == {"data/files/a b.bin": DIGEST}
    assert payload.urls == {"data/files/a b.bin": f"{server.url}/a%20b.bin"}


def test_name_can_be_chosen(place, server):
    """The catalog can set a name if the URL has no good one."""
    assert list(place.fetch(UrlSource(url=f"{server.url}/x?id=1", name="y.bin")).hashes) == ["data/y.bin"]


@pytest.mark.parametrize("digest", [DIGEST, DIGEST[:8], DIGEST[:20].upper()])
def test_correct_hash_passes(place, server, digest):
    """All or only the first digits are enough, in upper or lower case."""
    assert place.fetch(UrlSource(url=f"{server.url}/a%20b.bin", sha256=digest)).hashes


def test_wrong_hash_fails_and_leaves_nothing(place, server):
    """The error shows the expected and the found hash."""
    with pytest.raises(FetchError, match=rf"wrong sha256 \(expected 12345678, found {DIGEST}\)"):
        place.fetch(UrlSource(url=f"{server.url}/a%20b.bin", sha256="12345678"))
    assert place.hashes() == {}


def test_hash_added_later_is_checked_against_the_existing_file(place, server):
    """A file with another hash is fetched again, and fails if it still has that hash."""
    place.fetch(UrlSource(url=f"{server.url}/a%20b.bin"))
    place.fetch(UrlSource(url=f"{server.url}/a%20b.bin", sha256=DIGEST))
    assert server.requests["/a%20b.bin"] == 1
    with pytest.raises(FetchError, match="sha256"):
        place.fetch(UrlSource(url=f"{server.url}/a%20b.bin", sha256="0" * 64))
    assert server.requests["/a%20b.bin"] == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "file:///etc/passwd"}, "not an http or https URL"),
        ({"url": "http://user:secret@example.org/a"}, "a URL with a user name or password"),
        ({"url": "https://example.org/"}, "does not end in a file name"),
        ({"url": "https://example.org/a%2fb"}, "does not end in a file name"),
        ({"url": "https://example.org/a", "sha256": "1234567"}, "sha256"),
        ({"url": "https://example.org/a", "sha256": "0" * 65}, "sha256"),
        ({"url": "https://example.org/a", "into": "../x"}, "can't be used as a path"),
        ({"url": "https://example.org/a", "name": "/x"}, "can't be used as a path"),
        ({"url": "https://example.org/a", "md5": "x"}, "md5"),
    ],
)
def test_invalid_source_is_refused(fields, message):
    """The error comes when the catalog is read, before any request."""
    with pytest.raises(ValidationError, match=message):
        UrlSource(**fields)
