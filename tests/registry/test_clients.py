"""Other people's clients, crane, oras and cosign themselves: what they do to an image leaves it verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests import registries
from tests.registry.clients import Clients, clients
from tests.registry.pushing import image_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Catalog

SBOM = "application/vnd.cyclonedx+json"
STATEMENT = "application/vnd.in-toto+json"
KEYLESS = ("--tlog-upload=false", "--use-signing-config=false")  # no transparency log, which is a public service


@pytest.fixture(scope="module")
def pushed(big: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clients, Catalog, str, str]]:
    """The clients, a catalog, a registry, and the digest of the image that the catalog pushed there as ``reef:v1``."""
    folder = tmp_path_factory.mktemp("clients")
    home = folder / "home"
    home.mkdir()
    found = clients(home)
    with registries.serve(folder) as registry:
        catalog = big.copy(folder / "catalog")
        catalog.env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        digest = image_of(catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/reef"))
        yield found, catalog, registry, digest


def verified(catalog: Catalog, name: str, digest: str, statements: int) -> None:
    """Check that datapack verifies an image, and how many statements of provenance it finds."""
    output = catalog.ok("verify", name)
    assert output.startswith("verified, every byte")
    assert digest in output
    assert (f"provenance: {statements} attached" if statements else "no provenance") in output


def test_crane_copies_an_image(pushed):
    """The copy has the same digest, and every byte. crane leaves behind what is attached."""
    clients, catalog, registry, digest = pushed
    clients.run("crane", "copy", f"{registry}/reef:v1", f"{registry}/crane/reef:v1")
    assert clients.run("crane", "digest", f"{registry}/crane/reef:v1").strip() == digest
    verified(catalog, f"docker://{registry}/crane/reef:v1", digest, 0)


def test_crane_exports_the_files(pushed, tmp_path):
    """The file system that crane makes of the layers has the dataset in it."""
    clients, _, registry, _ = pushed
    clients.run("crane", "export", f"{registry}/reef:v1", tmp_path / "files.tar")
    assert b"dataset/reef/manifest-sha256.txt" in (tmp_path / "files.tar").read_bytes()


def test_oras_discovers_the_provenance(pushed):
    """`oras discover` shows the attached statement and SBOM."""
    clients, _, registry, _ = pushed
    found = json.loads(clients.run("oras", "discover", "--plain-http", "--format", "json", f"{registry}/reef:v1"))
    assert sorted(entry["artifactType"] for entry in found["referrers"]) == [SBOM, STATEMENT]


def test_oras_copies_an_image_with_its_provenance(pushed):
    """`oras cp -r` takes the statement along; on the other side datapack finds it."""
    clients, catalog, registry, digest = pushed
    plain = ("--from-plain-http", "--to-plain-http")
    clients.run("oras", "cp", "-r", *plain, f"{registry}/reef:v1", f"{registry}/oras/reef:v1")
    verified(catalog, f"docker://{registry}/oras/reef:v1", digest, 1)


def test_oras_attaches_something_else(pushed, tmp_path):
    """What others attach changes neither the image nor the count of statements."""
    clients, catalog, registry, digest = pushed
    clients.run("crane", "copy", f"{registry}/reef:v1", f"{registry}/more/reef:v1")
    (tmp_path / "note.txt").write_text("approved")
    command = ("attach", "--plain-http", "--artifact-type", "text/approval", "--disable-path-validation")
    clients.run("oras", *command, f"{registry}/more/reef:v1", f"{tmp_path}/note.txt:text/plain")
    verified(catalog, f"docker://{registry}/more/reef:v1", digest, 0)
    catalog.ok("push", "reef@v1", "--to", f"docker://{registry}/more/reef")
    verified(catalog, f"docker://{registry}/more/reef:v1", digest, 1)
    found = json.loads(clients.run("oras", "discover", "--plain-http", "--format", "json", f"{registry}/more/reef:v1"))
    assert sorted(entry["artifactType"] for entry in found["referrers"]) == [SBOM, STATEMENT, "text/approval"]


def test_cosign_signs_an_image(pushed, tmp_path):
    """A signature is valid for cosign, and the image stays verified, with its provenance; `cosign tree` shows it."""
    clients, catalog, registry, digest = pushed
    image = f"{registry}/reef@{digest}"
    clients.run("cosign", "generate-key-pair", "--output-key-prefix", tmp_path / "key")
    clients.run("cosign", "sign", "--yes", "--key", tmp_path / "key.key", *KEYLESS, image)
    found = json.loads(clients.run("cosign", "verify", "--key", tmp_path / "key.pub", "--insecure-ignore-tlog", image))
    assert found[0]["critical"]["image"]["docker-manifest-digest"] == digest
    assert STATEMENT in clients.run("cosign", "tree", image)
    verified(catalog, f"docker://{registry}/reef:v1", digest, 1)
