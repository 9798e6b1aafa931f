"""Files from Google Cloud Storage, as a small stand-in serves it, and from any other file system of fsspec."""

import base64
import hashlib
import json
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from datapack.catalog.sources import StorageSource
from datapack.errors import FetchError
from datapack.fetch import stores
from tests.fetch.stores import FILES, contents, serving, spy_on_reads
from tests.workplace import Workplace

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


class Shelf(MemoryFileSystem):
    """Another file system of fsspec; what it says of an object is when it was made."""

    protocol = "shelf"
    store = {}  # noqa: RUF012 - as in its base
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("shelf:/"))


@pytest.fixture
def shelf():
    fsspec.register_implementation("shelf", Shelf, clobber=True)
    Shelf.store.clear()
    made = Shelf()
    for name, content in FILES.items():
        made.pipe_file(f"/top/{name}", content)
    return made


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("shelf://top/", {*FILES}),
        ("shelf://top/train.json", {"train.json"}),
        ("shelf://top/images/**/*.png", {"a b.png", "deep/ö.png"}),
    ],
)
def test_any_file_system_of_fsspec(place, shelf, url, names):
    """It works as S3 does, as far as it tells what changes."""
    payload = place.fetch(StorageSource(storage=url))
    assert set(contents(place)) == names
    assert all(url.startswith("shelf://top/") for url in payload.urls.values())
    assert "shelf://top/train.json" in payload.urls.values() or "train.json" not in names


def test_change_in_a_store_without_etags_is_noticed(place, shelf, monkeypatch):
    """The time of the object differs before and after."""
    read = stores.Store.read

    def change(self, file):
        yield from read(self, file)
        if file.path.endswith("train.json"):
            shelf.pipe_file("/top/train.json", b"[]")

    monkeypatch.setattr(stores.Store, "read", change)
    with pytest.raises(FetchError, match="the store changed while it was read: found 1 object changed"):
        place.fetch(StorageSource(storage="shelf://top/"))
    assert "train.json" not in contents(place)


def test_object_without_a_mark_is_fetched_every_time(place, shelf, monkeypatch):
    """A store that tells only sizes can't say that an object is still the same."""
    info = Shelf.info
    monkeypatch.setattr(Shelf, "info", lambda self, path: {**info(self, path), "created": None})
    listing = Shelf.find
    monkeypatch.setattr(
        Shelf, "find",
        lambda self, path, **options: {
            name: {**found, "created": None} for name, found in listing(self, path, **options).items()
        },
    )  # fmt: skip
    done = spy_on_reads(monkeypatch)
    for _ in range(2):
        place.fetch(StorageSource(storage="shelf://top/"))
    assert len(done) == 2 * len(FILES)


class Gcs:
    """The part of Google's JSON API that reading needs."""

    def __init__(self, files: dict[str, bytes], wrong_md5: bool = False):
        self.files, self.wrong_md5 = files, wrong_md5

    def describe(self, name: str) -> dict[str, object]:
        md5 = hashlib.md5(b"x" if self.wrong_md5 else self.files[name]).digest()
        return {
            "kind": "storage#object", "name": name, "bucket": "bucket", "size": str(len(self.files[name])),
            "md5Hash": base64.b64encode(md5).decode(), "etag": md5.hex(), "generation": "1",
            "updated": "2026-01-01T00:00:00Z", "timeCreated": "2026-01-01T00:00:00Z",
        }  # fmt: skip

    def __call__(self, handler):
        parts = urlsplit(handler.path)
        query = parse_qs(parts.query)
        path = parts.path.partition("/b/bucket")[2]
        if path in {"/o", "/o/"}:
            prefix = query.get("prefix", [""])[0]
            names = sorted(name for name in self.files if name.startswith(prefix))
            return self.json({"kind": "storage#objects", "items": [self.describe(name) for name in names]})
        name = unquote(path.removeprefix("/o/"))
        if name not in self.files:
            return 404, {"Content-Type": "application/json"}, b'{"error": {"code": 404, "message": "Not Found"}}'
        if query.get("alt") == ["media"] or "/download/" in handler.path:
            start, _, end = handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            content = self.files[name]
            return 206, {}, content[int(start or 0) : int(end or len(content)) + 1]
        return self.json(self.describe(name))

    @staticmethod
    def json(value):
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@pytest.mark.parametrize(
    ("url", "names"), [("gs://bucket/data/", {*FILES}), ("gs://bucket/data/train.json", {"train.json"})]
)
def test_google_cloud_storage(place, url, names):
    """Objects have a generation and an md5."""
    with serving(Gcs({f"data/{name}": content for name, content in FILES.items()})) as (endpoint, requests):
        store = StorageSource(storage=url, endpoint=endpoint, anonymous=True)
        payload = place.fetch(store)
        assert set(contents(place)) == names
        assert "gs://bucket/data/train.json" in payload.urls.values()
        before = len([request for request in requests if "alt=media" in request])
        place.fetch(store)
        assert len([request for request in requests if "alt=media" in request]) == before > 0


def test_damage_in_google_cloud_storage(place):
    """Its md5 is in base64."""
    with serving(Gcs({"a": b"abc"}, wrong_md5=True)) as (endpoint, _):
        store = StorageSource(storage="gs://bucket/a", endpoint=endpoint, anonymous=True)
        with pytest.raises(FetchError, match="the bytes differ from the md5 that the store gives"):
            place.fetch(store)


def test_a_store_can_not_lead_to_another_server(place):
    """An endpoint that somebody else runs must not make datapack read what only this network may see."""
    gcs = Gcs({"a": b"abc"})

    def lead_away(handler):
        if "alt=media" in handler.path:
            return 302, {"Location": inner}, b""
        return gcs(handler)

    with serving(lambda _: (200, {}, b"abc")) as (inner, inner_requests), serving(lead_away) as (endpoint, _):
        store = StorageSource(storage="gs://bucket/a", endpoint=endpoint, anonymous=True)
        with pytest.raises(FetchError, match="the store redirects to another server; use its own endpoint"):
            place.fetch(store)
    assert inner_requests == []
