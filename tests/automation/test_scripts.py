"""The scripts that the targets of the Makefile run: what a release checks, and how an archive is pushed as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from datapack import __version__
from datapack.errors import ImageError, MismatchError, UsageError
from datapack.oci.archive import Archive
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from tests import registries
from tests.conftest import PROJECT, Catalog, fact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(PROJECT / "scripts")
    yield
    for name in ("image", "push_archive", "release_check", "same_digest"):
        sys.modules.pop(name, None)


def script(name: str) -> Any:
    return import_module(name)


def test_docker_s_own_packages_stay(tmp_path: Path) -> None:
    """Where dockerd and runc come from Docker's packages, which conflict with Debian's, only the rest is installed."""
    stubs = {"dpkg-query": "exit 1", "id": "echo 1000", "dockerd": "", "runc": ""}
    for name, line in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    command = ["/bin/sh", PROJECT / "scripts" / "system-packages.sh", "docker.io", "runc", "fish"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert "To install them: sudo apt-get install fish\n" in done.stderr
    (tmp_path / "dockerd").unlink()
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert "To install them: sudo apt-get install docker.io fish\n" in done.stderr


def test_a_release_has_one_version_everywhere(tmp_path: Path) -> None:
    """The tag must be the project's version, and every Dockerfile must have it; the project itself passes."""
    check, version_in = script("release_check").check, script("image").version_in
    ours = [PROJECT / "docker" / name / "Dockerfile" for name in script("image").TRAINERS]
    check(f"v{__version__}", __version__, ours)
    with pytest.raises(MismatchError, match="TAG: not the tag of this version"):
        check("v0.0.9", __version__, ours)
    other = tmp_path / "Dockerfile"
    other.write_text('ARG PYT_VERSION="0.0.9"\n')
    with pytest.raises(MismatchError, match=r"Dockerfile: the image has another version: expected .* found 0\.0\.9"):
        check(f"v{__version__}", __version__, [*ours, other])
    other.write_text("FROM scratch\n")
    with pytest.raises(UsageError, match="Dockerfile: no version"):
        version_in(other)


def test_two_builds_are_compared() -> None:
    """Equal digests pass, others are a mismatch, and a job that printed nothing is no agreement."""
    compare, first, second = script("same_digest").compare, f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
    assert compare(first, first) == first
    with pytest.raises(MismatchError, match="two builds gave two images"):
        compare(first, second)
    for pair in (("", ""), (first, ""), (first, "digest")):
        with pytest.raises(UsageError, match="not a digest"):
            compare(*pair)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with registries.serve(tmp_path) as name:
        yield name


@pytest.mark.registry
def test_an_archive_is_pushed_as_it_is(registry: str, fetched: Catalog, tmp_path: Path) -> None:
    """Its digest stays the same, a second push changes nothing, and a tag that names another image is left alone."""
    push_archive = script("push_archive").push_archive
    fetched.ok("build", "reef@v1", f"oci-archive:{tmp_path}/image.tar")
    name = ImageName.parse(f"{registry}/pyt:0.2.0")
    digest = Archive.find(tmp_path / "image.tar").image().digest
    assert push_archive(tmp_path / "image.tar", name) == digest
    assert push_archive(tmp_path / "image.tar", name) == digest
    assert RemoteImage.find(Repository(RegistryClient(name))).image().digest == digest
    text = (fetched.root / "datasets.yml").read_text()
    (fetched.root / "datasets.yml").write_text(text.replace("A small reef", "Another title"))
    fetched.ok("build", "reef@v1", f"oci-archive:{tmp_path}/other.tar", "--update-lock")
    with pytest.raises(MismatchError, match=r"the registry has another image of this name.*ARG \.\.\._VERSION"):
        push_archive(tmp_path / "other.tar", name)
    assert RemoteImage.find(Repository(RegistryClient(name))).image().digest == digest


@pytest.mark.registry
def test_a_damaged_archive_is_not_pushed(registry: str, fetched: Catalog, tmp_path: Path) -> None:
    """A changed byte in a layer ends the push, and the registry shows nothing under the name."""
    fetched.ok("build", "reef@v1", f"oci-archive:{tmp_path}/image.tar")
    path = tmp_path / "image.tar"
    content = path.read_bytes()
    assert content.count(b"a" * 3000) == 1
    path.write_bytes(content.replace(b"a" * 3000, b"a" * 2999 + b"b"))
    name = ImageName.parse(f"{registry}/pyt:0.2.0")
    with pytest.raises(ImageError, match="damaged: the bytes do not match the digest"):
        script("push_archive").push_archive(path, name)
    assert Repository(RegistryClient(name)).find_manifest("0.2.0") is None


@pytest.mark.registry
def test_only_an_sbom_is_attached_as_one(registry: str, fetched: Catalog, tmp_path: Path) -> None:
    """An SBOM is attached once, however often; another JSON document is refused."""
    attach_sbom = script("push_archive").attach_sbom
    fetched.ok("build", "reef@v1", f"oci-archive:{tmp_path}/image.tar")
    name = ImageName.parse(f"{registry}/pyt:0.2.0")
    digest = script("push_archive").push_archive(tmp_path / "image.tar", name)
    sbom, there = tmp_path / "sbom.json", ImageName.parse(f"{registry}/pyt@{digest}")
    sbom.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6"}))
    assert attach_sbom(sbom, there) == attach_sbom(sbom, there)
    listed = Repository(RegistryClient(there)).manifest(
        digest.replace(":", "-")
    )  # Debian's registry keeps no list itself
    assert [entry["artifactType"] for entry in json.loads(listed)["manifests"]] == ["application/vnd.cyclonedx+json"]
    sbom.write_text("{}")
    with pytest.raises(ImageError, match="not an SBOM: expected CycloneDX in JSON"):
        attach_sbom(sbom, there)


@pytest.mark.registry
def test_only_the_named_sbom_is_attached(registry: str, fetched: Catalog) -> None:
    """An SBOM that differs from the one that the attached provenance names is not attached."""
    image = fact(fetched.ok("push", "reef@v1", f"docker://{registry}/reef"), "image")
    there = ImageName.parse(image.replace(":v1@", "@"))
    sbom = fetched.root / "dist/reef-v1.cdx.json"
    attach_sbom = script("push_archive").attach_sbom
    attach_sbom(sbom, there)
    sbom.write_bytes(sbom.read_bytes().replace(b"reef", b"roof"))
    with pytest.raises(MismatchError, match="the SBOM is not the one that the image's provenance names"):
        attach_sbom(sbom, there)
