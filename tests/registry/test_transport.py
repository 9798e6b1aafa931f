"""Bytes that change in transit, and connections that can't be trusted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import proxies, registries
from tests.conftest import fact


def test_an_altered_layer(catalog, proxy, tmp_path):
    """Neither a pull nor a verification accepts a layer that differs by a bit."""
    catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef")
    proxy.add("GET", "blobs", proxies.flip_in_download, times=10**6, skip=1)
    error = catalog.fails("verify", f"docker://{proxy.name}/reef:v1", status=3)
    assert "is damaged: its bytes have sha256:" in error
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{proxy.name}/reef:v1", f"oci:{tmp_path}/x:v1"]
    assert subprocess.run(copy, capture_output=True, check=False).returncode != 0


def test_an_altered_manifest(catalog, proxy):
    """A request by digest returns that image or none."""
    image = fact(catalog.ok("push", "reef@v1", "--to", f"docker://{proxy.name}/reef"), "image")
    proxy.add("GET", "manifests", proxies.flip_in_download, times=10**6)
    assert "damaged: the bytes do not match the digest" in catalog.fails("verify", f"docker://{image}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}',
            "found an index of several images",
        ),
        (b"<!doctype html><title>Log in</title>", "expected a JSON object, found"),
        (b"[]", "expected a JSON object, found"),
        (b"{}", "not the manifest of one image: found no layers"),
    ],
    ids=["an index", "a web page", "a list", "an empty object"],
)
def test_what_is_not_an_image(catalog, proxy, content, words):
    """Anything that a registry sends instead of a manifest is one clear line."""
    proxy.add("GET", "manifests", lambda exchange: exchange.answer(200, [], content), times=10**6)
    assert words in catalog.fails("verify", f"docker://{proxy.name}/reef:v1")


def test_a_wrong_certificate(catalog, tmp_path):
    """An untrusted certificate stops the push, unless REQUESTS_CA_BUNDLE or --insecure accepts it."""
    certificate = registries.self_signed(tmp_path)
    with registries.serve(tmp_path, certificate=certificate) as registry:
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
        assert f"{registry}/reef:v1: the registry's certificate can't be trusted: found self-signed" in error
        assert "REQUESTS_CA_BUNDLE" in error
        catalog.ok("push", "reef@v1", "--insecure", "--to", f"docker://{registry}/reef")
        catalog.env["REQUESTS_CA_BUNDLE"] = str(certificate[0])
        assert catalog.ok("verify", f"docker://{registry}/reef:v1").startswith("verified, every byte")


def test_a_certificate_for_another_host(catalog, tmp_path):
    """A trusted certificate for another host stops the push too."""
    certificate = registries.self_signed(tmp_path, "127.0.0.9")
    catalog.env["REQUESTS_CA_BUNDLE"] = str(certificate[0])
    with registries.serve(tmp_path, certificate=certificate) as registry:
        error = catalog.fails("push", "reef@v1", "--to", f"docker://{registry}/reef")
    assert "the registry's certificate can't be trusted" in error
    assert "127.0.0.1" in error


def test_plain_http_is_for_loopback_only(catalog, registry):
    """A remote registry without TLS receives nothing, unless --insecure allows it."""
    port = registry.partition(":")[2]
    elsewhere = f"elsewhere.test:{port}"
    site = catalog.root.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(  # a host name that leads to this machine but is not a loopback name
        "import socket\nreal = socket.getaddrinfo\n"
        "socket.getaddrinfo = lambda host, *a, **k: real('127.0.0.1' if host == 'elsewhere.test' else host, *a, **k)\n"
    )
    catalog.env["PYTHONPATH"] = f"{Path(__file__).parents[2]}:{site}"
    error = catalog.fails("push", "reef@v1", "--to", f"docker://{elsewhere}/reef")
    assert f"{elsewhere}/reef:v1: the registry does not speak TLS" in error
    assert "--insecure" in error
    catalog.ok("push", "reef@v1", "--insecure", "--to", f"docker://{elsewhere}/reef")
