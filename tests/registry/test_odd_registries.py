"""Registries that keep to the letter of the specification in their own way, or not at all: other tools push to them."""

from __future__ import annotations

import json
import threading
import time

import pytest

from datapack.hashing import digest_of
from datapack.oci.spec import INDEX, MANIFEST, Descriptor, canonical_json
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.referrers import attach, provenance, statements
from datapack.registry.repository import _next_page
from tests import proxies
from tests.conftest import fact
from tests.proxies import Exchange, Proxy
from tests.registry.pushing import pull_and_verify

ALWAYS = 10**9
ATTACHED = "the provenance is attached to the image"
NOT_ATTACHED = "the image is in the registry, but its provenance could not be attached: "


def repository(name: str) -> Repository:
    return Repository(RegistryClient(ImageName.parse(name), actions="pull,push"))


@pytest.mark.parametrize(
    ("method", "path", "act"),
    [
        ("HEAD", "/blobs/", proxies.replace_header("Content-Length")),
        ("PATCH", "", proxies.replace_status(200)),
        ("PATCH", "", proxies.replace_status(201)),
        ("PATCH", "", proxies.replace_status(204)),
        ("PUT", "/blobs/", proxies.replace_status(200)),
        ("PUT", "/blobs/", proxies.replace_status(202)),
        ("PUT", "/blobs/", proxies.replace_status(204)),
        ("PUT", "/manifests/", proxies.replace_status(200)),
        ("PUT", "/manifests/", proxies.replace_status(202)),
        ("PUT", "/manifests/", proxies.replace_status(204)),
        ("PUT", "", proxies.replace_header("Docker-Content-Digest")),
        ("GET", "/referrers/", proxies.answer(200, {"Content-Type": "text/html"}, b"<!doctype html><title>Hi</title>")),
        ("GET", "/referrers/", proxies.answer(200, {"Content-Type": "application/json"}, b"[1, null]")),
        ("GET", "/referrers/", proxies.answer(200, {"Content-Type": "application/json"}, b"[" * 200_000)),
        ("GET", "/referrers/", proxies.answer(405)),
    ],
    ids=[
        "HEAD without a length",
        "PATCH 200",
        "PATCH 201",
        "PATCH 204",
        "PUT 200",
        "PUT 202",
        "PUT 204",
        "manifest 200",
        "manifest 202",
        "manifest 204",
        "no digest",
        "referrers are a web page",
        "referrers are a list",
        "referrers are nested",
        "referrers are not allowed",
    ],
)
def test_an_oddity(catalog, proxy, tmp_path, method, path, act):
    """The push succeeds, its provenance is attached, and a second push sends nothing."""
    proxy.add(method, path, act, times=ALWAYS)
    done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert done.returncode == 0, done.stderr
    assert ATTACHED in done.stderr
    pull_and_verify(catalog, f"{proxy.upstream}/reef:v1", tmp_path / "pulled")
    proxy.sent = 0
    done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert "there already" in done.stderr
    assert " sent" not in done.stderr
    assert proxy.sent < 10_000
    output = catalog.ok("verify", f"docker://{proxy.name}/reef:v1")
    assert output.startswith("verified, every byte")
    assert "provenance: 1 attached" in output
    assert "by the sizes" in catalog.ok("verify", "--quick", f"docker://{proxy.name}/reef:v1")


def test_a_registry_that_keeps_the_place_of_an_upload(catalog, registry):
    """The answer to the bytes may leave out where the upload continues: where it was."""
    places: dict[str, str] = {}

    def hide(exchange: Exchange) -> None:
        status, headers, content = exchange.forward()
        places[exchange.handler.path.partition("?")[0]] = dict(headers)["Location"].partition("?")[2]
        exchange.answer(status, [pair for pair in headers if pair[0] != "Location"], content)

    def find(exchange: Exchange) -> None:
        path, digest = exchange.handler.path.partition("?")[0], exchange.handler.path.rpartition("&digest=")[2]
        exchange.handler.path = f"{path}?{places[path]}&digest={digest}"
        exchange.answer(*exchange.forward())

    with Proxy(registry) as proxy:
        proxy.add("PATCH", "", hide, times=ALWAYS)
        proxy.add("PUT", "/uploads/", find, times=ALWAYS)
        catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert places


def test_a_registry_that_resolves_the_tag_of_the_list_to_the_image(catalog, registry):
    """GitLab does, as long as there is no such tag: there is no list yet then."""
    with Proxy(registry) as gitlab:
        gitlab.add("GET", "/manifests/sha256-", _resolve, times=ALWAYS)
        done = catalog.run("push", "reef@v1", "--to", f"docker://{gitlab.name}/reef")
        assert done.returncode == 0, done.stderr
        assert ATTACHED in done.stderr
        assert "provenance: 1 attached" in catalog.ok("verify", f"docker://{gitlab.name}/reef:v1")


def _resolve(exchange: Exchange) -> None:
    status, headers, content = exchange.forward()
    if status == 404:
        exchange.handler.path = exchange.handler.path.replace("/sha256-", "/sha256:")
        status, headers, content = exchange.forward()
    exchange.answer(status, headers, content)


def test_a_registry_that_keeps_no_list_at_all(catalog, registry):
    """The tag always gives the image itself: the push succeeds and says what is missing; so does verify."""
    with Proxy(registry) as gitlab:
        gitlab.add("GET", "/manifests/sha256-", _always_resolve, times=ALWAYS)
        done = catalog.run("push", "reef@v1", "--to", f"docker://{gitlab.name}/reef")
        assert done.returncode == 0, done.stderr
        assert NOT_ATTACHED in done.stderr
        assert "\nno provenance\n" in catalog.ok("verify", f"docker://{gitlab.name}/reef:v1")


def _always_resolve(exchange: Exchange) -> None:
    exchange.handler.path = exchange.handler.path.replace("/sha256-", "/sha256:")
    exchange.answer(*exchange.forward())


@pytest.mark.parametrize(
    "refused", [("PUT", "/manifests/sha256:"), ("PUT", "/manifests/sha256-"), ("GET", "/manifests/sha256-")]
)
def test_provenance_that_can_not_be_attached(catalog, proxy, refused):
    """The image is there, so the push succeeds; it says what is missing, and the same command attaches it later."""
    proxy.add(*refused, proxies.refuse(400, "MANIFEST_INVALID"), times=1)
    done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert done.returncode == 0, done.stderr
    assert NOT_ATTACHED in done.stderr
    assert "found HTTP 400 Bad Request (MANIFEST_INVALID says the test)" in done.stderr
    assert "to attach it, run the same command again: nothing else is sent" in done.stderr
    assert ATTACHED not in done.stdout + done.stderr
    again = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    assert ATTACHED in again.stderr
    assert " sent" not in again.stderr
    assert "provenance: 1 attached" in catalog.ok("verify", f"docker://{proxy.name}/reef:v1")


@pytest.fixture
def pushed(catalog, registry) -> tuple[str, Descriptor, bytes]:
    """A registry with an image, its descriptor, and its statement."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    image = Descriptor.of(MANIFEST, repository(f"{registry}/reef").manifest("v1"))
    return registry, image, (catalog.root / "dist/reef-v1.provenance.json").read_bytes()


def another(statement: bytes, number: int) -> bytes:
    return canonical_json({**json.loads(statement), "predicateType": f"https://example.org/{number}"})


def test_a_list_that_somebody_else_overwrites(pushed):
    """Another push read the list before ours was written, and writes its own after it: both entries stay."""
    registry, image, statement = pushed
    there = repository(f"{registry}/reef")
    tag = image.digest.replace(":", "-")
    stale = there.manifest(tag)
    with Proxy(registry) as proxy:

        def overwrite(exchange: Exchange) -> None:
            status, headers, content = exchange.forward()
            there.send_manifest(stale, INDEX, tag)
            exchange.answer(status, headers, content)

        proxy.add("PUT", "/manifests/sha256-", overwrite, times=2)
        attach(repository(f"{proxy.name}/reef"), image, provenance(another(statement, 1)))
        assert proxy.requests["PUT"] == 5  # two blobs at most, the manifest, and the list three times
    attached = statements(RemoteImage(there, there.manifest("v1")))
    assert sorted(attached) == sorted([statement, another(statement, 1)])


def test_many_who_attach_at_once(pushed):
    """If datapack says that a statement is attached, it is."""
    registry, image, statement = pushed
    threads = [
        threading.Thread(
            target=attach, args=(repository(f"{registry}/reef"), image, provenance(another(statement, number)))
        )
        for number in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there = repository(f"{registry}/reef")
    attached = statements(RemoteImage(there, there.manifest("v1")))
    assert sorted(attached) == sorted([statement, *(another(statement, number) for number in range(5))])


class Pages(Proxy):
    """A registry whose list of referrers comes in pages of one entry; ours is the last."""

    def __init__(self, upstream: str, entries: list[object], link: str = "") -> None:
        super().__init__(upstream)
        self.entries, self.link = entries, link
        self.add("GET", "/referrers/", self._page, times=ALWAYS)

    def _page(self, exchange: Exchange) -> None:
        path, _, query = exchange.handler.path.partition("?page=")
        number = int(query or 0)
        headers = [("Content-Type", INDEX)]
        if number + 1 < len(self.entries) or self.link:
            following = self.link or f"{path}?page={number + 1}"
            headers.append(("Link", f'</first>; rel="first", <{following}>; rel="next"'))
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries[number : number + 1]}
        exchange.answer(200, headers, json.dumps(index).encode())


def entries_of(registry: str, image: Descriptor) -> list[object]:
    """Return the list that is kept under the tag, after some entries of other kinds."""
    entry, _ = json.loads(repository(f"{registry}/reef").manifest(image.digest.replace(":", "-")))["manifests"]
    other = {**Descriptor.of(MANIFEST, b"{}").to_json(), "artifactType": "a/signature"}
    return [other, 1, None, {}, {"digest": 7, "artifactType": entry["artifactType"]}, other, entry]


def test_a_list_in_pages(catalog, pushed):
    """Every page is read; what is no descriptor is no statement."""
    registry, image, _ = pushed
    with Pages(registry, entries_of(registry, image)) as pages:
        assert "provenance: 1 attached" in catalog.ok("verify", f"docker://{pages.name}/reef:v1")
        assert pages.requests["GET"] >= 7


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("?page=0", "the image's list of attachments can't be read: found over 100 pages"),
        ("http://127.0.0.1:9/next", "can't be read: found it continues at another host"),
        ("http://169.254.169.254/next", "the registry redirects to a place that is not allowed: expected the reg"),
        ("/v2/", "can't be read: found its next page is no list"),
    ],
    ids=["endless", "another port", "another host", "something else"],
)
def test_a_list_that_continues_oddly(catalog, pushed, link, words):
    """It is one line, and no other host is asked."""
    registry, image, _ = pushed
    with Pages(registry, entries_of(registry, image), link) as pages:
        assert words in catalog.fails("verify", f"docker://{pages.name}/reef:v1")


@pytest.mark.parametrize(
    ("header", "following"),
    [
        ("", None),
        ("</a>; rel=next", "/a"),
        ('</a>; rel="next"', "/a"),
        ('</a,b>; rel="first", </c>; REL = "Next"; title=x', "/c"),
        ('</a>; rel="nextish", </b>', None),
        ("</a>; title=rel=next", None),
        ("rel=next", None),
        ("<" * 200_000, None),
        ("<>;" * 80_000, None),
        ("<a>," * 60_000 + "<b>;rel=next", "b"),
    ],
    ids=range(10),
)
def test_the_link_to_the_next_page(header, following):
    """It is found among others, and no header takes long to read."""
    began = time.monotonic()
    assert _next_page(header) == following
    assert time.monotonic() - began < 2


def test_an_index_that_is_no_index(catalog, pushed):
    """An entry whose bytes are no manifest of ours is one line."""
    registry, _, _ = pushed
    entry = {**Descriptor.of(MANIFEST, b"[1,null]").to_json(), "artifactType": "application/vnd.in-toto+json"}
    with Pages(registry, [entry]) as pages:
        pages.add("GET", f"/manifests/{digest_of(b'[1,null]')}", proxies.answer(200, {}, b"[1,null]"), times=ALWAYS)
        assert "expected a JSON object" in catalog.fails("verify", f"docker://{pages.name}/reef:v1")


def test_the_summary_of_a_push_names_the_image(catalog, proxy):
    """The digest that is printed is that of the image, whatever was attached."""
    image = fact(catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef"), "image")
    assert image.endswith(digest_of(repository(f"{proxy.name}/reef").manifest("v1")))
