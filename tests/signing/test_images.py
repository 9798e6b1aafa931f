"""Signatures of images: beside a layout or an archive, or attached in a registry, as cosign 3 writes and reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from datapack.oci.blob import Blob
from datapack.oci.layout import Layout
from datapack.oci.spec import MANIFEST, Descriptor, canonical_json
from datapack.registry import ImageName, RegistryClient, Repository
from datapack.registry.referrers import Artifact, attach
from datapack.signing.artifact import signature
from datapack.signing.bundle import BUNDLE, Bundle
from datapack.signing.keys import read_private_key
from datapack.signing.subject import COSIGN, DatasetSubject, ImageSubject
from tests import registries
from tests.registry.clients import Clients, clients
from tests.registry.test_referrers import ListKeeper
from tests.signing.keyfiles import KeyFiles, make_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Catalog

OFFLINE = ("--tlog-upload=false", "--use-signing-config=false")  # no transparency log, which is a public service
LAYOUT = "oci:dist/reef-v1"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return make_keys(tmp_path)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with registries.serve(tmp_path) as name:
        yield name


@pytest.fixture
def image(built: Catalog, registry: str) -> str:
    """An image of the catalog in a registry, by its digest."""
    return registries.push(built.root / "dist/reef-v1", registry, "reef:v1").replace(":v1@", "@")


@pytest.fixture
def others(tmp_path: Path) -> Clients:
    """The clients of other people, without a passphrase for the keys that they make."""
    (tmp_path / "home").mkdir()
    return clients(tmp_path / "home")


def digest_of(catalog: Catalog) -> str:
    return Layout(catalog.root / "dist/reef-v1").image().digest


def repository(image: str) -> Repository:
    return Repository(RegistryClient(ImageName.parse(image), actions="pull,push"))


def attach_to(image: str, artifact: Artifact) -> str:
    there = repository(image)
    return attach(there, Descriptor.of(MANIFEST, there.manifest(there.name.digest)), artifact)


def test_a_layout_and_an_archive(built, keys, tmp_path):
    """The signature is beside them, of the image's digest; another image under the same name does not pass."""
    built.ok("build", "reef@v1", "oci-archive:reef.tar")
    for what, file in ((LAYOUT, "dist/reef-v1.sigstore.json"), ("oci-archive:reef.tar", "reef.tar.sigstore.json")):
        output = built.ok("sign", what, "--key", str(keys.private))
        assert f"\nsigned     the image {digest_of(built)}\n" in output
        assert output.splitlines()[-1] == f"signature  {file}"
        assert "\nsigned by the ECDSA P-256 key SHA256:" in built.ok("verify", what, "--key", str(keys.public))
        assert "(it was there already)" in built.ok("sign", what, "--key", str(keys.private))
    before = digest_of(built)
    catalog = built.root / "datasets.yml"
    catalog.write_text(catalog.read_text().replace("A small reef", "Another reef"))
    built.ok("build", "reef@v1", "--update-lock")
    error = built.fails("verify", LAYOUT, "--key", str(keys.public), status=3)
    assert f"what this key signed is not this image: expected a signature of the image {digest_of(built)}" in error
    assert f"it is of the image {before}" in error
    built.ok("sign", LAYOUT, "--key", str(keys.private))  # the same key replaces its own signature
    assert "\nsigned by " in built.ok("verify", LAYOUT, "--key", str(keys.public))


def test_a_signed_dataset_is_no_signed_image(built, keys):
    """An image has a base and a program too, so a signature of its data alone does not pass for it; nor the reverse."""
    built.ok("sign", "reef@v1", "--key", str(keys.private))
    given = ("--signature", "data/reef/v1.sigstore.json")
    error = built.fails("verify", LAYOUT, "--key", str(keys.public), *given, status=3)
    assert "it is of the files of a dataset, not of an image" in error
    built.ok("sign", LAYOUT, "--key", str(keys.private))
    (built.root / "data/reef/v1.sigstore.json").unlink()
    given = ("--signature", "dist/reef-v1.sigstore.json")
    error = built.fails("verify", "reef@v1", "--key", str(keys.public), *given, status=3)
    assert "it is of an image, not of the files of a dataset" in error


def test_a_damaged_image_is_not_signed(built, keys):
    """Only what was verified is signed."""
    (layer,) = (path for path in (built.root / "dist/reef-v1/blobs/sha256").iterdir() if b"aaa" in path.read_bytes())
    layer.write_bytes(layer.read_bytes().replace(b"aaa", b"aab", 1))
    built.fails("sign", LAYOUT, "--key", str(keys.private), status=3)
    assert not (built.root / "dist/reef-v1.sigstore.json").exists()


@pytest.mark.parametrize("keeps_lists", [True, False], ids=["referrers", "tag"])
def test_an_image_in_a_registry(built, keys, image, keeps_lists):
    """The signature is attached once, whether or not the registry keeps the list of what is attached."""
    with ListKeeper(image.partition("/")[0]) as keeper:
        name = f"{keeper.name}/{image.partition('/')[2]}" if keeps_lists else image
        what = f"docker://{name}"
        assert "not signed" in built.fails("verify", what, "--key", str(keys.public), status=3)
        output = built.ok("sign", what, "--key", str(keys.private))
        assert f"\nsigned     the image {image.partition('@')[2]}\n" in output
        assert "\nsigned by the ECDSA P-256 key" in built.ok("verify", what, "--key", str(keys.public))
        assert "\nsignatures: 1 found, NOT checked" in built.ok("verify", what)
        assert "(it was there already)" in built.ok("sign", what, "--key", str(keys.private))
        assert "\nsignatures: 1 found" in built.ok("verify", what)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("ECDSA P-256", ()), ("Ed25519", ()), ("ECDSA P-384", ("--signature-digest-algorithm", "sha384"))],
)
def test_cosign_verifies_what_datapack_signs(built, image, others, tmp_path, kind, options):
    """`cosign verify --key` finds the signature and accepts it, beside one of the dataset; `cosign tree` shows both."""
    files = make_keys(tmp_path, "other", kind)
    built.ok("sign", "reef@v1", "--key", str(files.private))
    bag = Bundle.parse((built.root / "data/reef/v1.sigstore.json").read_bytes(), "here")
    attach_to(image, signature(bag, DatasetSubject("reef@v1", "")))
    built.ok("sign", f"docker://{image}", "--key", str(files.private))
    command = ("verify", "--key", files.public, "--insecure-ignore-tlog", *options, image)
    (found,) = json.loads(others.run("cosign", *command))
    assert found["critical"]["image"]["docker-manifest-digest"] == image.partition("@")[2]
    assert found["critical"]["type"] == COSIGN
    assert others.run("cosign", "tree", image).count("via OCI referrer") == 2
    wrong = make_keys(tmp_path, "wrong", kind)
    with pytest.raises(AssertionError, match="no matching attestations"):
        others.run("cosign", "verify", "--key", wrong.public, "--insecure-ignore-tlog", *options, image)


@pytest.mark.parametrize("kind", ["ECDSA P-256", "ECDSA P-384"])
def test_datapack_verifies_what_cosign_signs(built, image, others, tmp_path, kind):
    """In the registry, and in a layout that oras copied it to; an attestation by the same key is not a signature."""
    files = make_keys(tmp_path, "other", kind)
    others.run("cosign", "import-key-pair", "--key", files.private, "--output-key-prefix", tmp_path / "imported")
    signer = ("--yes", "--key", tmp_path / "imported.key", *OFFLINE)
    (tmp_path / "predicate.json").write_text("{}")
    others.run(
        "cosign", "attest", *signer, "--predicate", tmp_path / "predicate.json", "--type", "slsaprovenance1", image
    )
    error = built.fails("verify", f"docker://{image}", "--key", str(files.public), status=3)
    assert "not a statement of in-toto v1: expected https://in-toto.io/Statement/v1" in error
    others.run("cosign", "sign", *signer, image)
    output = built.ok("verify", f"docker://{image}", "--key", str(files.public))
    assert output.splitlines()[-1].startswith(f"signed by the {kind} key SHA256:")
    assert "(it was there already)" in built.ok("sign", f"docker://{image}", "--key", str(files.private))
    others.run("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout", image, f"{tmp_path}/copy:v1")
    assert "\nsigned by " in built.ok("verify", f"oci:{tmp_path}/copy", "--key", str(files.public))
    wrong = make_keys(tmp_path, "wrong")
    built.fails("verify", f"oci:{tmp_path}/copy", "--key", str(wrong.public), status=3)


def test_a_signature_of_another_image_that_is_attached(built, keys, image):
    """By the right key, and valid: but of something else."""
    key = read_private_key(keys.private, lambda _: None)
    other = ImageSubject(f"sha256:{'1' * 64}")
    attach_to(image, signature(Bundle.sign(other.statement(), key, other.hint(key.public)), other))
    error = built.fails("verify", f"docker://{image}", "--key", str(keys.public), status=3)
    assert f"it is of the image sha256:{'1' * 64}" in error
    built.ok("sign", f"docker://{image}", "--key", str(keys.private))  # one that fits is enough
    assert "\nsigned by " in built.ok("verify", f"docker://{image}", "--key", str(keys.public))


@pytest.mark.parametrize("content", [b"junk", b"{}", b"[" * 9999])
def test_junk_that_is_attached(built, keys, image, content):
    """Anyone who may push may attach anything: it is one line with a key, and changes nothing without one."""
    layer = Descriptor.of(BUNDLE, content).to_json()
    attach_to(image, Artifact("signature", BUNDLE, (layer,), (Blob.of(BUNDLE, content),), {}))
    assert built.ok("verify", f"docker://{image}").startswith("verified, every byte")
    assert "the signature can't be read" in built.fails(
        "verify", f"docker://{image}", "--key", str(keys.public), status=3
    )


def attach_inside(layout: Layout, layers: object) -> None:
    """Attach something to a layout's image in its index, as oras does, without any check."""
    digest = layout.image().digest
    manifest = canonical_json({"artifactType": BUNDLE, "subject": {"digest": digest}, "layers": layers})
    entry = Descriptor.of(MANIFEST, manifest)
    layout.blob(entry.digest).write_bytes(manifest)
    index = layout.read_index()
    layout.index.write_bytes(canonical_json({**index, "manifests": [*index["manifests"], entry.to_json()]}))


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        ([Descriptor(BUNDLE, f"sha256:{'2' * 64}", 1 << 40).to_json()], "this part of the image is too large"),
        ([Descriptor(BUNDLE, f"sha256:{'2' * 64}", 10).to_json()], "the signature can't be read"),
        ([7], "not an OCI descriptor"),
        ([{"mediaType": BUNDLE}], "not an OCI descriptor"),
        (7, "not signed"),
    ],
)
def test_what_a_layout_names_and_does_not_have(built, keys, layers, error):
    """A huge signature is not read, and a list of anything else is one line; without a key nobody minds."""
    attach_inside(Layout(built.root / "dist/reef-v1"), layers)
    assert built.ok("verify", LAYOUT).startswith("verified, every byte")
    done = built.run("verify", LAYOUT, "--key", str(keys.public))
    assert done.returncode in {1, 3}
    assert error in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.registry
def test_a_registry_that_takes_no_signature(built, keys, tmp_path):
    """It is known before anything is read."""
    with registries.serve(tmp_path, login=True) as name:
        error = built.fails("sign", f"docker://{name}/reef:v1", "--key", str(keys.private))
        assert "the registry refuses an upload" in error


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
@pytest.mark.registry
def test_skopeo_reads_a_layout_beside_its_signature(built, keys):
    """The layout itself is unchanged."""
    before = (built.root / "dist/reef-v1/index.json").read_bytes()
    built.ok("sign", LAYOUT, "--key", str(keys.private))
    assert (built.root / "dist/reef-v1/index.json").read_bytes() == before
    subprocess.run(["skopeo", "inspect", f"oci:{built.root}/dist/reef-v1"], check=True, capture_output=True)
