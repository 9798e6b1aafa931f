"""No registry can make datapack read without end, wait without end, or end with anything but one line."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from datapack.errors import ImageError
from datapack.hashing import digest_of
from datapack.oci.blob import Blob
from datapack.oci.spec import LAYER, MANIFEST, Descriptor, canonical_json
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.retry import backoff
from tests import proxies
from tests.registry.pushing import TokenService, log_in

if TYPE_CHECKING:
    from tests.proxies import Exchange

ALWAYS = 10**9
HUGE, NUMBER = b" " * (5 << 20), "9" * 5000
NOTHING = canonical_json(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor.of("text/plain", b"content").to_json(),
        "layers": [],
    }
)
BLOB = Descriptor(LAYER, digest_of(b"content"), len(b"content"))


@pytest.fixture
def client(proxy, impatient, monkeypatch, tmp_path) -> RegistryClient:
    """A client of an empty repository behind the proxy, without a credential and with little patience."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("datapack.registry.client.TIMEOUT", 1.0)
    return RegistryClient(ImageName.parse(f"{proxy.name}/reef:v1"), actions="pull,push")


@pytest.mark.parametrize(
    ("path", "status", "ask"),
    [
        ("/manifests/", 200, lambda there: there.manifest("v1")),
        ("/manifests/", 403, lambda there: there.manifest("v1")),
        ("/referrers/", 200, lambda there: there.find_referrers(BLOB.digest)),
        ("/blobs/", 403, lambda there: list(there.blob(BLOB))),
    ],
    ids=["a manifest", "an error", "a list", "an error for a blob"],
)
def test_an_answer_that_is_too_large(client, proxy, path, status, ask):
    """What has to fit into memory has at most 4 MiB."""
    proxy.add("GET", path, proxies.answer(status, {}, HUGE), times=ALWAYS)
    with pytest.raises(ImageError, match="the registry's answer can't be read: found an answer of over 4,194,304 byt"):
        ask(Repository(client))


def test_a_token_that_is_too_large(catalog, registry):
    """The answer of a token service has the same limit."""
    with TokenService(registry) as service:
        service.faults.insert(0, proxies.Fault("GET", "^/token", proxies.answer(200, {}, HUGE), ALWAYS))
        log_in(catalog, service.name)
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{service.name}/reef")
    assert "found an answer of over 4,194,304 bytes" in error


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (200, {}, b"content and more"),
        (206, {"Content-Range": "bytes 0-15/16"}, b"content and more"),
    ],
)
def test_a_blob_ends_at_its_size(client, proxy, status, headers, content):
    """A descriptor says how large a blob is: a longer one is not read on."""
    proxy.add("GET", "/blobs/", proxies.answer(status, headers, content), times=ALWAYS)
    with pytest.raises(ImageError, match="the registry sends more than this blob has: expected 7 B"):
        list(Repository(client).blob(BLOB))


def test_an_endless_blob(client, proxy):
    """It ends with one line as soon as the blob should."""

    def stream(exchange: Exchange) -> None:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Transfer-Encoding", "chunked")
        exchange.handler.end_headers()
        for _ in range(10_000):
            exchange.handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        raise AssertionError("somebody read 640 MB")

    proxy.add("GET", "/blobs/", stream, times=ALWAYS)
    with pytest.raises(ImageError, match="the registry sends more than this blob has"):
        list(Repository(client).blob(BLOB))


@pytest.mark.parametrize(("content", "right"), [(b"content", True), (b"conten", False), (b"contents", False)])
def test_a_blob_whose_size_nobody_tells(client, proxy, content, right):
    """Its bytes are counted: what nobody counted has no size."""

    def stream(exchange: Exchange) -> None:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Transfer-Encoding", "chunked")
        exchange.handler.end_headers()
        exchange.handler.wfile.write(b"%d\r\n%b\r\n0\r\n\r\n" % (len(content), content))

    proxy.add("GET", "/blobs/", stream, times=ALWAYS)
    proxy.add("HEAD", "/blobs/", proxies.answer(200), times=ALWAYS)
    image = RemoteImage(Repository(client), b"{}")
    with contextlib.nullcontext() if right else pytest.raises(ImageError, match=r"ended early|sends more"):
        assert image.size(BLOB) == 7


def test_what_a_registry_accepted_may_be_seen_later(client, proxy):
    """Some registries answer before all of their servers know."""
    proxy.add("GET", "/manifests/", proxies.refuse(404), times=2)
    proxy.add("HEAD", "/blobs/", proxies.refuse(404), skip=1, times=2)  # after the question whether it is there
    there = Repository(client)
    assert there.upload(Blob.of("text/plain", b"content")).way == "sent"
    there.put_manifest(NOTHING, MANIFEST, "v1")


def test_a_blob_that_is_too_short(client, proxy):
    """After some tries that bring nothing it is one line."""
    proxy.add("GET", "/blobs/", proxies.answer(200, {}, b"cont"), times=ALWAYS)
    with pytest.raises(ImageError, match="the blob ended early: expected 7, found 4"):
        list(Repository(client).blob(BLOB))
    assert proxy.requests["GET"] < 10


def test_a_download_goes_on_where_it_was_cut(client, proxy):
    """The rest is asked for with a Range; a registry that ignores it sends everything again."""

    def cut(exchange: Exchange) -> None:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Content-Length", "7")
        exchange.handler.end_headers()
        exchange.handler.wfile.write(b"con")
        exchange.handler.close_connection = True

    proxy.add("GET", "/blobs/", cut, times=2)
    proxy.add("GET", "/blobs/", proxies.answer(206, {"Content-Range": "bytes 3-6/7"}, b"tent"))
    assert b"".join(Repository(client).blob(BLOB)) == b"content"
    assert [headers.get("Range") for headers in proxy.headers[-3:]] == [None, "bytes=3-", "bytes=3-"]


@pytest.mark.parametrize("given", ["bytes 5-6/7", "bytes", "", f"bytes 0-{NUMBER}/7"], ids=range(4))
def test_another_part_than_was_asked_for(client, proxy, given):
    """Bytes from another position are never put where these belong."""
    proxy.add("GET", "/blobs/", proxies.answer(206, {"Content-Range": given}, b"nt"), times=ALWAYS)
    with pytest.raises(ImageError, match="another part of a blob than it was asked for"):
        list(Repository(client).blob(BLOB))


@pytest.mark.parametrize("path", ["/blobs/", "/manifests/"])
def test_an_encoded_answer(client, proxy, path):
    """Nobody asked for compression, so its bytes are not those of the blob."""
    proxy.add("GET", path, proxies.answer(200, {"Content-Encoding": "gzip"}, b"content"), times=ALWAYS)
    with pytest.raises(ImageError, match=r"found an encoding that was not requested \(gzip\)"):
        list(Repository(client).blob(BLOB)) if path == "/blobs/" else Repository(client).manifest("v1")
    assert all(headers["Accept-Encoding"] == "identity" for headers in proxy.headers)


@pytest.mark.parametrize("length", ["-1", NUMBER, "seven", "7, 8", "7.0"], ids=range(5))
def test_a_length_that_is_none(client, proxy, length):
    """It is one line, for a HEAD request too."""
    proxy.add("HEAD", "/blobs/", lambda exchange: exchange.answer(200, [("Content-Length", length)], b""), times=ALWAYS)
    with pytest.raises(ImageError, match="found an invalid Content-Length"):
        Repository(client).blob_size(BLOB.digest)


@pytest.mark.parametrize("path", ["/blobs/", "/manifests/"])
def test_a_registry_that_is_too_slow(client, proxy, path):
    """A byte now and then does not keep a request alive."""

    def trickle(exchange: Exchange) -> None:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Content-Length", "1000000")
        exchange.handler.end_headers()
        for _ in range(600):
            exchange.handler.wfile.write(b"x")
            time.sleep(0.1)

    proxy.add("GET", path, trickle, times=ALWAYS)
    large, began = Descriptor(LAYER, BLOB.digest, 1_000_000), time.monotonic()
    with pytest.raises(ImageError, match="the registry can't be reached: found under 1,000 bytes a second"):
        list(Repository(client).blob(large)) if path == "/blobs/" else Repository(client).manifest("v1")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("7", 7, 7),
        (NUMBER, 600, 600),
        ("\u0663", 0, 1),
        ("-1", 0, 1),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0, 1),
        ("", 0, 1),
    ],
    ids=range(6),
)
def test_how_long_a_registry_may_make_us_wait(retry_after, least, most):
    """At most ten minutes, whatever it asks for."""
    assert least <= backoff(1, retry_after) <= most
