"""A push attaches the signatures that are kept beside the bag and beside the layout, if they are of this version."""

from __future__ import annotations

import json

import pytest

from datapack.oci.spec import Descriptor
from datapack.registry import ImageName, RegistryClient, Repository
from datapack.signing.bundle import BUNDLE
from tests import registries
from tests.conftest import fact
from tests.signing.keyfiles import make_keys


@pytest.fixture
def registry(tmp_path):
    with registries.serve(tmp_path) as name:
        yield name


def bundles(image: str) -> dict[str, bytes]:
    """Return the signatures that are attached to an image, by what their list says that they are of."""
    there = Repository(RegistryClient(ImageName.parse(image)))
    entries = json.loads(there.manifest(there.name.digest.replace(":", "-")))["manifests"]
    found = {}
    for entry in entries:
        if entry["artifactType"] == BUNDLE:
            (layer,) = json.loads(there.manifest(entry["digest"]))["layers"]
            kind = entry["annotations"]["dev.sigstore.bundle.predicateType"]
            found[kind] = b"".join(map(bytes, there.blob(Descriptor.parse(layer, image))))
    return found


def test_signatures_of_the_bag_and_of_the_image(built, registry, tmp_path):
    """Made offline, they go with the push, byte for byte, and are checked where the image is."""
    keys = make_keys(tmp_path)
    built.ok("sign", "reef@v1", "--key", str(keys.private))
    image = fact(built.ok("push", "reef@v1", f"docker://{registry}/reef"), "image")
    model_signing, cosign = "https://model_signing/signature/v1.0", "https://sigstore.dev/cosign/sign/v1"
    kept = (built.root / "data/reef/v1.sigstore.json").read_bytes()
    assert bundles(image) == {model_signing: kept}
    what = f"docker://{registry}/reef:v1"
    error = built.fails("verify", what, "--key", str(keys.public), status=3)
    assert "it is of the files of a dataset, not of an image" in error
    built.ok("sign", "oci:dist/reef-v1", "--key", str(keys.private))
    done = built.run("push", "reef@v1", f"docker://{registry}/reef")
    assert "the signature of the dataset is attached to the image" in done.stderr
    assert "the signature of the image is attached to the image" in done.stderr
    signed = {
        "https://slsa.dev/provenance/v1": (built.root / "dist/reef-v1.provenance.sigstore.json").read_bytes(),
        cosign: (built.root / "dist/reef-v1.sigstore.json").read_bytes(),
    }
    assert bundles(image) == {model_signing: kept, **signed}
    assert "\nsigned by the ECDSA P-256 key SHA256:" in built.ok("verify", what, "--key", str(keys.public))
    before = bundles(image)
    built.ok("push", "reef@v1", f"docker://{registry}/reef")
    assert bundles(image) == before
    assert "signatures: 3 found" in built.ok("verify", what)


@pytest.mark.parametrize("content", [b"junk", None], ids=["junk", "of another image"])
def test_a_signature_of_something_else(built, registry, tmp_path, content):
    """It stays here, and the push says so and succeeds."""
    keys = make_keys(tmp_path)
    built.ok("sign", "oci:dist/reef-v1", "--key", str(keys.private))
    if content is not None:
        (built.root / "dist/reef-v1.provenance.sigstore.json").unlink()
    if content is None:
        catalog = built.root / "datasets.yml"
        catalog.write_text(catalog.read_text().replace("A small reef", "Another reef"))
    else:
        (built.root / "dist/reef-v1.sigstore.json").write_bytes(content)
    done = built.run("push", "reef@v1", f"docker://{registry}/reef", "--update-lock")
    assert done.returncode == 0, done.stderr
    assert "a signature that is kept here is not attached: " in done.stderr
    assert "dist/reef-v1.sigstore.json" in done.stderr
    assert bundles(fact(done.stdout, "image")) == {}


def test_a_build_on_disk_says_nothing_of_signatures(built, tmp_path):
    """Nothing is attached there, so what is kept here does not matter."""
    (built.root / "data/reef/v1.sigstore.json").write_bytes(b"junk")
    assert "signature" not in built.run("build", "reef@v1").stderr
