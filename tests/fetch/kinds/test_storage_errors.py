"""What is wrong with a store, or with what the catalog says of it, in one line and without a secret."""

import json
import sys

import pytest
from pydantic import ValidationError

from datapack.catalog.sources import StorageSource
from datapack.errors import FetchError
from datapack.fetch import stores
from tests.fetch.stores import FILES, SECRET, contents, s3_error, serving, source, spy_on_reads
from tests.workplace import Workplace

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


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
    done = spy_on_reads(monkeypatch)
    place.fetch(source(s3))
    assert done == ["bucket/data/train.json"]


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


@pytest.mark.parametrize("key", ["data//x", "data/../x", "data/a\\b", "data/\x1b[2Kx", "data/x.dvc"])
def test_names_that_no_payload_has_are_refused(place, s3, key):
    """A key is any text; nothing is written for one that is not a path below the folder."""
    s3.put(key, b"evil")
    with pytest.raises(Exception, match=r"not allowed|can't be in a dataset|of another folder") as caught:
        place.fetch(source(s3))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert not any(path.name == "x" for path in place.root.rglob("*"))
