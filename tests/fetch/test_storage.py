"""Files from object stores: S3 as moto serves it, GCS as a small stand-in does, and any other file system of fsspec."""

import base64
import hashlib
import json
import os
import signal
import sys
import threading
import time
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pydantic import ValidationError

from datapack.bag.fetch_txt import fetch_lines, parse_fetch
from datapack.catalog.sources import StorageSource
from datapack.errors import FetchError
from datapack.fetch import stores
from tests.fetch.stores import CREDENTIALS, S3, SECRET, s3_error, s3_server, serving
from tests.workplace import Workplace

FILES = {"images/a b.png": b"a" * 3000, "images/deep/ö.png": b"", "train.json": b"{}"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def server():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(server):
    store = S3(server)
    for page in store.client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        for found in page.get("Contents", ()):
            store.client.delete_object(Bucket="bucket", Key=found["Key"])
    for name, content in FILES.items():
        store.put(f"data/{name}", content)
    return store


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def source(s3, url="s3://bucket/data/", **keys):
    return StorageSource(storage=url, endpoint=s3.endpoint, **keys)


def contents(place) -> dict[str, bytes]:
    top = place.bag / "data"
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("s3://bucket/data/", {*FILES}),
        ("s3://bucket/data", {*FILES}),
        ("s3://bucket", {f"data/{name}" for name in FILES}),
        ("s3://bucket/data/train.json", {"train.json"}),
        ("s3://bucket/data/images/a b.png", {"a b.png"}),
        ("s3://bucket/data/*.json", {"train.json"}),
        ("s3://bucket/data/**/*.png", {"images/a b.png", "images/deep/ö.png"}),
        ("s3://bucket/*/images/*.png", {"data/images/a b.png"}),
    ],
)
def test_object_folder_and_glob(place, s3, url, names):
    """Names are those below the folder or the glob's fixed part, as for local files; the URL of each is recorded."""
    payload = place.fetch(source(s3, url, into="x"))
    assert set(contents(place)) == {f"x/{name}" for name in names}
    keys = {f"s3://bucket/data/{name}" for name in FILES}
    assert {unquote(url) for url in payload.urls.values()} <= keys
    assert all(unquote(url).endswith(path.removeprefix("data/x/")) for path, url in payload.urls.items())


def test_urls_are_ones_that_bag_tools_accept(place, s3):
    """fetch.txt takes any URL; spaces and other letters are quoted."""
    urls = place.fetch(source(s3)).urls
    lines = b"".join(fetch_lines(urls, {}))
    assert b"s3://bucket/data/images/a%20b.png - data/images/a b.png\n" in lines
    assert set(parse_fetch(lines)) == {f"data/{name}" for name in FILES}


def gets(s3, monkeypatch):
    """Record the objects that are read."""
    read, found = stores.Store.read, []

    def spy(self, file):
        found.append(file.path)
        return read(self, file)

    monkeypatch.setattr(stores.Store, "read", spy)
    return found


def test_second_run_reads_only_objects_that_changed(place, s3, monkeypatch):
    """The ETag and the time of an object stand for its bytes, and the file here must still have their sha256."""
    place.fetch(source(s3))
    read = gets(s3, monkeypatch)
    place.fetch(source(s3))
    assert read == []
    s3.put("data/images/a b.png", b"b" * 3000)
    (place.bag / "data/train.json").write_bytes(b"[]")  # somebody else's bytes
    place.fetch(source(s3))
    assert sorted(read) == ["bucket/data/images/a b.png", "bucket/data/train.json"]
    assert contents(place) == {**FILES, "images/a b.png": b"b" * 3000}


def test_without_the_cache_everything_is_read_again(place, s3, monkeypatch):
    """Nothing then says which object a file was made from."""
    place.fetch(source(s3))
    (place.root / "hashes.sqlite").unlink()
    read = gets(s3, monkeypatch)
    place.fetch(source(s3))
    assert len(read) == len(FILES)


def test_excluded_objects_are_not_read(place, s3, monkeypatch):
    """Patterns are compared with the names below the folder."""
    read = gets(s3, monkeypatch)
    place.fetch(source(s3, exclude=("images/deep", "*.json")))
    assert set(contents(place)) == {"images/a b.png"}
    assert read == ["bucket/data/images/a b.png"]


def test_object_that_changes_while_it_is_read_is_not_used(place, s3, monkeypatch):
    """Its first bytes are of one object, its last ones of another: S3 itself says so."""
    monkeypatch.setattr(stores, "_BLOCK", 1000)
    read = stores.Store.read

    def change(self, file):
        for number, block in enumerate(read(self, file)):
            if number == 1 and file.path.endswith("a b.png"):
                s3.put("data/images/a b.png", b"b" * 3000)
            yield block

    monkeypatch.setattr(stores.Store, "read", change)
    with pytest.raises(
        FetchError, match=r"1 of 3 files could not be fetched.*1 x the object changed while it was read"
    ):
        place.fetch(source(s3))
    assert "images/a b.png" not in contents(place)
    monkeypatch.setattr(stores.Store, "read", read)
    place.fetch(source(s3))
    assert contents(place)["images/a b.png"] == b"b" * 3000


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train.json", b"[]", "1 object changed, such as train.json"),
        ("new.json", b"{}", "1 object new, such as new.json"),
        ("images/a b.png", None, "1 object gone, such as images/a b.png"),
    ],
)
def test_store_that_changes_during_the_run_is_noticed(place, s3, monkeypatch, name, content, says):
    """The listing afterwards must be the listing before; what is wrong is not kept."""
    listing, seen = stores.Store.list, []

    def change(self):
        if seen and content is None:
            s3.client.delete_object(Bucket="bucket", Key=f"data/{name}")
        elif seen:
            s3.put(f"data/{name}", content)
        seen.append(self)
        return listing(self)

    monkeypatch.setattr(stores.Store, "list", change)
    with pytest.raises(FetchError, match=f"the store changed while it was read: found {says}; run the same command"):
        place.fetch(source(s3))
    monkeypatch.undo()
    for variable, value in CREDENTIALS.items():
        monkeypatch.setenv(variable, value)
    place.fetch(source(s3))
    kept = {key: value for key, value in {**FILES, name: content}.items() if value is not None}
    assert contents(place) == kept


def test_damaged_bytes_are_not_used(place, s3, monkeypatch):
    """The ETag of an object that was sent in one part is its md5; that of others is not taken for one."""
    read = stores.Store.read
    monkeypatch.setattr(stores.Store, "read", lambda self, file: (block[::-1] for block in read(self, file)))
    with pytest.raises(FetchError, match="1 x the bytes differ from the md5 that the store gives"):
        place.fetch(source(s3, "s3://bucket/data/train.json"))
    part = s3.client.create_multipart_upload(Bucket="bucket", Key="parts/a.bin")
    sent = s3.client.upload_part(
        Bucket="bucket", Key="parts/a.bin", PartNumber=1, UploadId=part["UploadId"], Body=b"ab"
    )
    s3.client.complete_multipart_upload(
        Bucket="bucket", Key="parts/a.bin", UploadId=part["UploadId"],
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]},
    )  # fmt: skip
    place.fetch(source(s3, "s3://bucket/parts/"))
    assert contents(place) == {"a.bin": b"ba"}


def test_object_with_a_key_of_its_own_has_no_md5(place, s3, monkeypatch):
    """Its ETag looks like one."""
    s3.put("kms/a.bin", b"ab", ServerSideEncryption="aws:kms")
    read = stores.Store.read
    monkeypatch.setattr(stores.Store, "read", lambda self, file: (block[::-1] for block in read(self, file)))
    place.fetch(source(s3, "s3://bucket/kms/"))
    assert contents(place) == {"a.bin": b"ba"}


def test_folder_marks_are_no_files(place, s3):
    """Web consoles mark a folder by an empty object with a slash at its end."""
    s3.put("marked/", b"")
    s3.put("marked/sub/", b"")
    s3.put("marked/sub/a", b"1")
    place.fetch(source(s3, "s3://bucket/marked/"))
    assert contents(place) == {"sub/a": b"1"}


@pytest.mark.parametrize("key", ["data//x", "data/../x", "data/a\\b", "data/\x1b[2Kx", "data/x.dvc"])
def test_names_that_no_payload_has_are_refused(place, s3, key):
    """A key is any text; nothing is written for one that is not a path below the folder."""
    s3.put(key, b"evil")
    with pytest.raises(Exception, match=r"not allowed|can't be in a dataset|of another folder") as caught:
        place.fetch(source(s3))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert not any(path.name == "x" for path in place.root.rglob("*"))


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "ExpiredToken", "the credentials have expired; renew those of AWS_SESSION_TOKEN"),
        (403, "InvalidAccessKeyId", "the store does not accept the credentials; check those of AWS_SESSION_TOKEN"),
        (403, "SignatureDoesNotMatch", "the store does not accept the credentials"),
        (403, "AccessDenied", "no permission"),
        (404, "NoSuchBucket", "no such bucket"),
        (301, "PermanentRedirect", "the bucket is in another region; set AWS_DEFAULT_REGION"),
        (400, "AuthorizationHeaderMalformed", "the bucket is in another region"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong"),
        (418, "Weird", r"the store's library failed \(Weird\)"),
    ],
)
@pytest.mark.parametrize("url", ["s3://bucket/data/", "s3://bucket/data/train.json", "s3://bucket/*.json"])
def test_refusal_is_one_line_without_a_secret(place, monkeypatch, status, code, says, url):
    """The line names the variable or the profile, never its value."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{SECRET}-token")
    with serving(s3_error(status, code)) as (endpoint, _), pytest.raises(FetchError, match=says) as caught:
        place.fetch(StorageSource(storage=url, endpoint=endpoint))
    line = str(caught.value)
    assert line.startswith(f"storage {url}: ")
    assert "\n" not in line
    assert SECRET not in line
    assert "AKIDEXAMPLE" not in line


def test_profile_is_named(place, monkeypatch, tmp_path):
    """Whoever has several profiles learns which one to renew."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET}\naws_session_token = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with serving(s3_error(400, "ExpiredToken")) as (endpoint, _):
        store = StorageSource(storage="s3://bucket/x/", endpoint=endpoint)
        with pytest.raises(FetchError, match=r"renew those of the profile lab \(AWS_PROFILE\)"):
            place.fetch(store)
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(FetchError, match=r"no credentials; set up the profile other"):
        place.fetch(store)


def test_without_credentials_the_line_says_so(place, s3, monkeypatch):
    """A public store needs none, if the catalog says that it is one."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(
        FetchError, match=r"no credentials; set up AWS_ACCESS_KEY_ID or ~/.aws, or add 'anonymous: true'"
    ):
        place.fetch(source(s3))
    for name, content in FILES.items():
        s3.put(f"data/{name}", content, ACL="public-read")
    place.fetch(source(s3, anonymous=True))
    assert contents(place) == FILES


@pytest.mark.parametrize("url", ["s3://bucket/nothing/", "s3://bucket/nothing", "s3://bucket/*.nothing"])
def test_nothing_there_is_one_line(place, s3, url):
    with pytest.raises(FetchError, match="no such object; check the name"):
        place.fetch(source(s3, url))


def test_missing_bucket_is_one_line(place, s3):
    with pytest.raises(FetchError, match="no such bucket"):
        place.fetch(source(s3, "s3://other/x/"))


def test_silent_endpoint_is_one_line(place):
    """Nobody listens at this port."""
    with pytest.raises(FetchError, match="no answer from the store; check the endpoint and the network"):
        place.fetch(StorageSource(storage="s3://bucket/x/", endpoint="http://127.0.0.1:1"))


def test_object_that_may_not_be_read_is_reported_and_the_others_are_kept(place, s3, monkeypatch):
    """All failures are in the report, as those of downloads are; the next run fetches only these."""
    read = stores.Store.read

    def refuse(self, file):
        if file.path.endswith("train.json"):
            raise PermissionError("Access Denied")
        return read(self, file)

    monkeypatch.setattr(stores.Store, "read", refuse)
    with pytest.raises(FetchError, match=r"1 of 3 files could not be fetched: found 1 x no permission"):
        place.fetch(source(s3))
    report = json.loads(place.failures.read_text())
    assert [failure["url"] for failure in report["failures"]] == ["s3://bucket/data/train.json"]
    monkeypatch.setattr(stores.Store, "read", read)
    done = gets(s3, monkeypatch)
    place.fetch(source(s3))
    assert done == ["bucket/data/train.json"]


def test_broken_transfer_is_tried_again(place, s3, monkeypatch):
    """Each try starts anew; the progress does not count twice."""
    read, tries = stores.Store.read, []

    def fail(self, file):
        tries.append(file.path)
        if len(tries) < 4:
            raise TimeoutError
        return read(self, file)

    monkeypatch.setattr(stores.Store, "read", fail)
    place.fetch(source(s3, "s3://bucket/data/train.json"))
    assert len(tries) == 4
    tries.clear()
    with pytest.raises(FetchError, match="no answer from the store"):
        place.fetch(source(s3, "s3://bucket/data/images/a b.png"), tries=2)


@pytest.mark.parametrize("module", ["s3fs", "gcsfs"])
def test_missing_extra_is_one_line(place, monkeypatch, module):
    """datapack itself needs neither."""
    scheme, extra = {"s3fs": ("s3", "s3"), "gcsfs": ("gs", "gs")}[module]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
    with pytest.raises(FetchError, match=rf"pip install 'datapack\[{extra}\]'"):
        place.fetch(StorageSource(storage=f"{scheme}://bucket/x/"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"storage": "https://example.org/a"}, "write 'url:'"),
        ({"storage": "file:///etc/passwd"}, "write 'local:'"),
        ({"storage": "memory://a"}, "not a store that others can reach"),
        ({"storage": "simplecache::s3://a/b"}, "not the URL of a store"),
        ({"storage": "zip://a::s3://b/c.zip"}, "not the URL of a store"),
        ({"storage": "reference://a"}, "not a store that others can reach"),
        ({"storage": "/etc"}, "not the URL of a store"),
        ({"storage": "s3://"}, "not the URL of a store"),
        ({"storage": "s3://a\nb"}, "not the URL of a store"),
        ({"storage": "s3://key:secret@bucket/a"}, "a URL with a password or a key"),
        ({"storage": "sftp://user:password@host/a"}, "a URL with a password or a key"),
        ({"storage": "s3://bucket/a?X-Amz-Signature=1"}, "a URL with a password or a key"),
        ({"storage": "sftp://host/a", "anonymous": True}, "no anonymous access"),
        ({"storage": "sftp://host/a", "endpoint": "https://example.org"}, "has its host in the URL"),
        ({"storage": "gs://bucket/a", "endpoint": "https://example.org"}, "your Google token would go to another host"),
        ({"storage": "s3://bucket/a", "endpoint": "ftp://example.org"}, "not an http or https URL"),
        ({"storage": "s3://bucket/a", "endpoint": "https://user:pw@example.org"}, "user name or password"),
    ],
)
def test_mistake_in_the_catalog_is_found_when_it_is_read(keys, says):
    """Nothing is requested for a place that no one should be asked for."""
    with pytest.raises(ValidationError, match=says):
        StorageSource(**keys)


def test_unknown_protocol_is_one_line(place):
    with pytest.raises(FetchError, match="fsspec knows no such store: found s4"):
        place.fetch(StorageSource(storage="s4://bucket/a"))


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
    done = gets(None, monkeypatch)
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


def with_storage(catalog, endpoint, **variables):
    """Make a catalog whose version comes from S3."""
    file = catalog.root / "datasets.yml"
    file.write_text(
        file.read_text().replace("local: source", f"{{storage: 's3://bucket/data/', endpoint: '{endpoint}'}}")
    )
    catalog.env.update({**CREDENTIALS, **variables})
    return catalog


def test_build_from_s3(catalog, s3):
    """The whole way, in a process of its own: no secret, and no leftover of a library, is in what it says or writes."""
    catalog = with_storage(catalog, s3.endpoint, PYTHONWARNINGS="default")
    done = catalog.run("build", "reef@v1", timeout=60)
    assert done.returncode == 0, done.stderr
    assert "nclosed" not in done.stderr
    assert "Traceback" not in done.stderr
    bag = catalog.root / "data/reef/v1"
    assert "s3://bucket/data/train.json 2 data/train.json\n" in (bag / "fetch.txt").read_text()
    for path in catalog.root.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            assert SECRET.encode() not in path.read_bytes(), path
    catalog.ok("verify", "reef@v1")
    assert catalog.leftovers() == []


def test_a_fork_can_fetch_after_its_parent_did(place, catalog, s3):
    """The loop of the library is not shared with a child; `Catalog.run` forks this process."""
    place.fetch(source(s3))
    catalog = with_storage(catalog, s3.endpoint)
    catalog.ok("fetch", "reef@v1")
    assert (catalog.root / "data/reef/v1/data/train.json").read_bytes() == b"{}"


def test_ctrl_c_ends_a_fetch_from_a_silent_store(catalog):
    """A server that accepts the request and says nothing does not hold the user up; no half file stays."""
    silent, listing = (
        threading.Event(),
        (
            b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>1</KeyCount><Contents><Key>data/a.bin</Key>"
            b'<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"0"</ETag><Size>9000000</Size></Contents>'
            b"</ListBucketResult>"
        ),
    )
    asked = threading.Event()

    def answer(handler):
        if "list-type" in handler.path:
            return 200, {"Content-Type": "application/xml"}, listing
        asked.set()
        silent.wait(60)
        return 500, {}, b""

    with serving(answer) as (endpoint, _):
        process = with_storage(catalog, endpoint).start("fetch", "reef@v1")
        try:
            assert asked.wait(30)
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            assert time.monotonic() - started < 10
            assert process.returncode == 130, errors
            assert "Traceback" not in errors
        finally:
            silent.set()
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert [path for path in catalog.leftovers() if "partial" not in path] == []
