"""The provenance attached to an image in a registry, whether or not the registry keeps the list itself."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from datapack.hashing import digest_of
from datapack.oci.spec import INDEX, MANIFEST, Descriptor, canonical_json
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.registry.referrers import attach, provenance, statements
from tests import registries
from tests.conftest import fact
from tests.proxies import Exchange, Proxy

IN_TOTO = "application/vnd.in-toto+json"


def repository(name: str) -> Repository:
    return Repository(RegistryClient(ImageName.parse(name), actions="pull,push"))


def tags(registry: str, name: str) -> list[str]:
    command = ["skopeo", "list-tags", "--tls-verify=false", f"docker://{registry}/{name}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["Tags"]


class ListKeeper(Proxy):
    """A registry with a referrers API: it confirms each PUT with a subject, and returns its lists."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.lists: dict[str, list[dict]] = {}
        self.add("PUT", "/manifests/", self._put, times=10**6)
        self.add("GET", "/referrers/", self._list, times=10**6)

    def _put(self, exchange: Exchange) -> None:
        body = exchange.body()
        status, headers, content = exchange.forward(body)
        manifest = json.loads(body)
        if "subject" in manifest:
            subject = manifest["subject"]["digest"]
            entry = {**Descriptor.of(MANIFEST, body).to_json(), "artifactType": manifest["artifactType"]}
            self.lists.setdefault(subject, []).append(entry)
            headers = [*headers, ("OCI-Subject", subject)]
        exchange.answer(status, headers, content)

    def _list(self, exchange: Exchange) -> None:
        entries = self.lists.get(exchange.handler.path.rpartition("/")[2], [])
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        exchange.answer(200, [("Content-Type", INDEX)], json.dumps(index).encode())


def test_a_registry_without_the_api_gets_a_tag(catalog, registry):
    """The list is an index under sha256-<hex>, as specified; the statement equals the file beside the image."""
    output = catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    subject = fact(output, "image").partition("@")[2]
    assert sorted(tags(registry, "reef")) == sorted(["v1", subject.replace(":", "-")])
    there = repository(f"{registry}/reef")
    entry, sbom = json.loads(there.manifest(subject.replace(":", "-")))["manifests"]
    assert (entry["artifactType"], sbom["artifactType"]) == (IN_TOTO, "application/vnd.cyclonedx+json")
    artifact = json.loads(there.manifest(entry["digest"]))
    assert artifact["subject"] == Descriptor.of(MANIFEST, there.manifest("v1")).to_json()
    assert artifact["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    (layer,) = artifact["layers"]
    assert layer["annotations"]["in-toto.io/predicate-type"] == "https://slsa.dev/provenance/v1"
    content = (catalog.root / "dist/reef-v1.provenance.json").read_bytes()
    assert statements(RemoteImage(there, there.manifest(subject))) == [content]
    assert layer["digest"] == digest_of(content)


def test_a_second_push_attaches_nothing(catalog, registry):
    """The same build has the same statement, which is attached only once."""
    subject = fact(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"), "image").partition("@")[2]
    before = repository(f"{registry}/reef").manifest(subject.replace(":", "-"))
    catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert repository(f"{registry}/reef").manifest(subject.replace(":", "-")) == before


def test_other_entries_are_kept(catalog, registry):
    """An entry that somebody else added to the list stays in it."""
    output = catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    tag = fact(output, "image").partition("@")[2].replace(":", "-")
    there = repository(f"{registry}/reef")
    index = json.loads(there.manifest(tag))
    index["manifests"] = [{**Descriptor.of(MANIFEST, there.manifest("v1")).to_json(), "artifactType": "a/signature"}]
    there.put_manifest(canonical_json(index), INDEX, tag)
    catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    kinds = [entry["artifactType"] for entry in json.loads(there.manifest(tag))["manifests"]]
    assert kinds == ["a/signature", IN_TOTO, "application/vnd.cyclonedx+json"]


def test_a_registry_with_the_api_gets_no_tag(catalog, registry):
    """If the registry confirms that it keeps the list, the list is read from there."""
    with ListKeeper(registry) as keeper:
        catalog.ok("push", "reef@v1", "--to", f"docker://{keeper.name}/reef")
        assert tags(registry, "reef") == ["v1"]
        assert len(statements(RemoteImage.find(repository(f"{keeper.name}/reef:v1")))) == 1
        assert (
            "\nprovenance: 1 attached, of this image\n"
            in catalog.ok("verify", f"docker://{keeper.name}/reef:v1") + "\n"
        )


def test_an_image_without_provenance(catalog, registry):
    """An image that another program pushed has none, and verify says so."""
    catalog.ok("build", "reef@v1")
    registries.push(catalog.root / "dist/reef-v1", registry, "reef:v1")
    assert "\nno provenance\n" in catalog.ok("verify", f"docker://{registry}/reef:v1")


@pytest.mark.parametrize(
    "content", [b'{"schemaVersion": 2, "mediaType": "%s"}' % MANIFEST.encode(), b"[1, null]", b"<html>"]
)
def test_something_else_under_the_tag_of_the_list(catalog, registry, content):
    """It is not overwritten. The image is there all the same, so the push succeeds, and says what it could not do."""
    output = catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    tag = fact(output, "image").partition("@")[2].replace(":", "-")
    with Proxy(registry) as proxy:
        act = lambda exchange: exchange.answer(200, [("Content-Type", MANIFEST)], content)  # noqa: E731
        proxy.add("GET", f"/manifests/{tag}", act, times=10**6)
        done = catalog.run("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
        assert done.returncode == 0, done.stderr
        assert "the image is in the registry, but its provenance could not be attached: " in done.stderr
        assert "to attach it, run the same command again: nothing else is sent" in done.stderr
        assert "Traceback" not in done.stderr
        assert proxy.requests["PUT"] == 3  # the image and the two that should be attached, but no list
        catalog.fails("verify", f"docker://{proxy.name}/reef:v1")


def test_a_statement_about_another_image(catalog, registry):
    """A statement attached to one image that names another is refused."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef")
    there = repository(f"{registry}/reef")
    statement = json.loads((catalog.root / "dist/reef-v1.provenance.json").read_bytes())
    statement["subject"][0]["digest"]["sha256"] = "1" * 64
    attach(there, Descriptor.of(MANIFEST, there.manifest("v1")), provenance(canonical_json(statement)))
    error = catalog.fails("verify", f"docker://{registry}/reef:v1", status=3)
    assert "the attached provenance describes another image: expected sha256:" in error
    assert re.search(f"found sha256:{'1' * 64}$", error.strip())


@pytest.mark.parametrize("subject", [None, 7, "text", {}, [7], [{"digest": []}], [{"digest": {"sha256": []}}]])
def test_a_statement_that_names_no_image(catalog, registry, subject):
    """Anyone may attach anything: it is one clear line."""
    layout = catalog.root / "dist/reef-v1"
    catalog.ok("build", "reef@v1")
    registries.push(layout, registry, "reef:v1")
    there = repository(f"{registry}/reef")
    statement = {"predicateType": "https://example.org/odd", "subject": subject}
    attach(there, Descriptor.of(MANIFEST, there.manifest("v1")), provenance(canonical_json(statement)))
    error = catalog.fails("verify", f"docker://{registry}/reef:v1", status=3)
    assert "the attached provenance describes another image: expected sha256:" in error
