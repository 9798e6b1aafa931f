"""Layouts that other programs write: what is attached to an image lies beside it, or several images do."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from datapack.oci.layout import Layout
from tests import registries
from tests.conftest import make_base
from tests.registry.clients import Clients, clients
from tests.registry.pushing import image_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Catalog

KEYLESS = ("--tlog-upload=false", "--use-signing-config=false")  # no transparency log, which is a public service


@pytest.fixture(scope="module")
def pushed(
    built_once: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Clients, Catalog, str, str]]:
    """The clients, a catalog, and a signed image with its provenance in a registry: its name and its digest."""
    folder = tmp_path_factory.mktemp("layouts")
    home = folder / "home"
    home.mkdir()
    found = clients(home)
    with registries.serve(folder) as registry:
        catalog = built_once.copy(folder / "catalog")
        catalog.env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        digest = image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))
        found.run("cosign", "generate-key-pair", "--output-key-prefix", home / "key")
        found.run("cosign", "sign", "--yes", "--key", home / "key.key", *KEYLESS, f"{registry}/reef@{digest}")
        yield found, catalog, f"{registry}/reef", digest


def test_a_copy_of_oras_with_everything_attached(pushed, tmp_path):
    """`oras cp -r` writes the signature and the statement into the layout's index too: the image is picked."""
    clients, catalog, name, digest = pushed
    clients.run("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout", f"{name}:v1", f"{tmp_path}/copy:v1")
    assert len(Layout(tmp_path / "copy").read_index()["manifests"]) > 1
    for what in (f"oci:{tmp_path}/copy", f"oci:{tmp_path}/copy:v1"):
        output = catalog.ok("verify", what)
        assert output.startswith(f"verified, every byte: {what}: ")
        assert digest in output
    assert "no single image is named 'v2'" in catalog.fails("verify", f"oci:{tmp_path}/copy:v2")


def test_a_copy_of_cosign_with_everything_attached(pushed, tmp_path):
    """So does `cosign save`."""
    clients, catalog, name, digest = pushed
    clients.run("cosign", "save", "--dir", tmp_path / "saved", f"{name}@{digest}")
    assert digest in catalog.ok("verify", f"oci:{tmp_path}/saved")


@pytest.mark.parametrize("form", ["oci", "oci-archive"])
def test_several_images_of_skopeo(built_once, tmp_path, form):
    """skopeo adds images to a layout, each under its tag; the tag names the one to verify, and the base to build on."""
    image = built_once.root / "dist/reef-v1"
    digest = Layout(image).image().digest
    make_base(tmp_path / "base", "another")
    for tag, source in (("v1", image), ("name:v2", image), ("base", tmp_path / "base")):
        copy = ["skopeo", "copy", "-q", "--preserve-digests", f"oci:{source}", f"oci:{tmp_path}/all:{tag}"]
        subprocess.run(copy, check=True)
    catalog = built_once
    if form == "oci-archive":
        subprocess.run(["tar", "-C", tmp_path / "all", "-cf", tmp_path / "all.tar", "."], check=True)
    path = tmp_path / ("all" if form == "oci" else "all.tar")
    for tag in ("v1", "name:v2"):
        assert digest in catalog.ok("verify", f"{form}:{path}:{tag}")
    assert "not a layout of one image: expected 1 image, found 2; name one" in catalog.fails("verify", f"{form}:{path}")
    assert "not an import container" in catalog.fails("verify", f"{form}:{path}:base")
