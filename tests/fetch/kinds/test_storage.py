"""Files from S3, as moto serves it."""

import signal
import threading
import time
from urllib.parse import unquote

import pytest

from datapack.bag.fetch_txt import fetch_lines, parse_fetch
from datapack.errors import FetchError
from datapack.fetch import stores
from tests.fetch.stores import CREDENTIALS, FILES, SECRET, contents, serving, source, spy_on_reads
from tests.workplace import Workplace

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


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


def test_second_run_reads_only_objects_that_changed(place, s3, monkeypatch):
    """The ETag and the time of an object stand for its bytes, and the file here must still have their sha256."""
    place.fetch(source(s3))
    read = spy_on_reads(monkeypatch)
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
    read = spy_on_reads(monkeypatch)
    place.fetch(source(s3))
    assert len(read) == len(FILES)


def test_excluded_objects_are_not_read(place, s3, monkeypatch):
    """Patterns are compared with the names below the folder."""
    read = spy_on_reads(monkeypatch)
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
