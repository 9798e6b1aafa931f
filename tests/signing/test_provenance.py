"""Signed provenance: one signature for an image and for all that is said of how it was made."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from sigstore_models.bundle.v1 import Bundle as TheirBundle

from datapack.errors import SignatureError
from datapack.oci.layout import Layout
from datapack.oci.spec import MANIFEST, Descriptor, canonical_json
from datapack.registry.referrers import provenance
from datapack.signing.bundle import BUNDLE, Bundle
from datapack.signing.check import Found, require_valid
from datapack.signing.keys import read_private_key
from datapack.signing.provenance import ProvenanceSubject
from tests import registries
from tests.conftest import fact
from tests.registry.clients import clients
from tests.signing.keyfiles import KeyFiles, make_keys
from tests.signing.test_images import attach_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUT = "oci:dist/reef-v1"
OURS = "dist/reef-v1.provenance.sigstore.json"
IMAGE, OTHER, DATASET = (f"sha256:{digit * 64}" for digit in "123")


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return make_keys(tmp_path)


def made(image: str = IMAGE, **more: Any) -> dict[str, Any]:
    """Return provenance of an image."""
    manifest = {"name": "manifest-sha256.txt", "digest": {"sha256": "3" * 64}}
    definition = {"externalParameters": {}, "resolvedDependencies": [manifest]}
    subject = {"name": "reef:v1", "digest": {"sha256": image.removeprefix("sha256:")}}
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"}
    return {**statement, "subject": [subject], "predicate": {"buildDefinition": definition}, **more}


def test_a_layout_and_its_provenance(built, keys, tmp_path):
    """`sign` signs both; `sigstore` reads the bundle; provenance that differs or lost its signature fails."""
    output = built.ok("sign", LAYOUT, "--key", str(keys.private))
    assert output.splitlines()[-2:] == [f"provenance {OURS}", "signature  dist/reef-v1.sigstore.json"]
    path, bundle = built.root / "dist/reef-v1.provenance.json", (built.root / OURS).read_bytes()
    theirs = TheirBundle.from_json(bundle)
    assert theirs.dsse_envelope is not None
    assert theirs.dsse_envelope.payload == path.read_bytes()
    output = built.ok("verify", LAYOUT, "--key", str(keys.public))
    assert [line.partition(" the ")[0] for line in output.splitlines()[-2:]] == ["provenance signed by", "signed by"]
    assert "(it was there already)" in built.ok("sign", LAYOUT, "--key", str(keys.private))
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"local":"source"', b'"local":"sourcf"'))
    error = built.fails("verify", LAYOUT, "--key", str(keys.public), status=3)
    assert "it is of another provenance of the same image" in error
    path.write_bytes(good)
    (built.root / OURS).unlink()
    built.fails("verify", LAYOUT, "--key", str(keys.public), status=3)
    made_elsewhere = ("sign", LAYOUT, "--key", str(keys.private), "--output", str(tmp_path / "x.sigstore.json"))
    built.ok(*made_elsewhere)
    assert (tmp_path / "x.provenance.sigstore.json").read_bytes() == bundle


@pytest.mark.registry
def test_in_a_registry(built, keys, tmp_path):
    """cosign verifies both after a push; oras, crane and skopeo read them; an unsigned statement beside it fails."""
    (tmp_path / "home").mkdir()
    others = clients(tmp_path / "home")
    built.ok("sign", LAYOUT, "--key", str(keys.private))
    with registries.serve(tmp_path) as registry:
        image = fact(built.ok("push", "reef@v1", f"docker://{registry}/reef"), "image").replace(":v1@", "@")
        assert "\nprovenance signed by " in built.ok("verify", f"docker://{image}", "--key", str(keys.public))
        options = ("--key", keys.public, "--insecure-ignore-tlog")
        others.run("cosign", "verify", *options, image)
        found = others.run("cosign", "verify-attestation", *options, "--type", "slsaprovenance1", image)
        statement = (built.root / "dist/reef-v1.provenance.json").read_bytes()
        assert base64.b64decode(json.loads(found)["payload"]) == statement
        wrong = ("--key", make_keys(tmp_path, "wrong").public, "--insecure-ignore-tlog", "--type", "slsaprovenance1")
        with pytest.raises(AssertionError, match="no matching attestations"):
            others.run("cosign", "verify-attestation", *wrong, image)
        listed = json.loads(others.run("oras", "discover", "--plain-http", "--format", "json", image))
        assert sorted(entry["artifactType"] for entry in listed["referrers"]).count(BUNDLE) == 2
        assert others.run("cosign", "tree", image).count("via OCI referrer") == 4  # the SBOM, too
        others.run("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", image, f"{registry}/copy:v1")
        assert "\nprovenance signed by " in built.ok(
            "verify", f"docker://{registry}/copy:v1", "--key", str(keys.public)
        )
        tag = image.partition("@")[2].replace(":", "-")
        assert others.run("crane", "manifest", f"{registry}/reef:{tag}").count(BUNDLE) >= 2
        source, copied = f"docker://{image}", f"oci:{tmp_path}/skopeo:v1"
        subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", source, copied], check=True)
        assert "no provenance" not in built.ok("verify", f"docker://{image}")
        forged = json.loads(statement)
        forged["predicate"]["buildDefinition"]["externalParameters"]["sources"] = []
        attach_to(image, provenance(canonical_json(forged)))
        error = built.fails("verify", f"docker://{image}", "--key", str(keys.public), status=3)
        assert "it is of another provenance of the same image" in error
        error = built.fails("sign", f"docker://{image}", "--key", str(keys.private), status=3)
        assert "the image has several statements of provenance" in error


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (canonical_json(made(OTHER)), "it is of "),
        (canonical_json(made(predicateType="https://slsa.dev/provenance/v0.2")), "predicateType"),
        (canonical_json(made(subject=made()["subject"] * 2)), "2 subjects"),
        (canonical_json(made(subject=made(OTHER)["subject"] + made()["subject"])), "2 subjects"),
        (canonical_json(made(subject=[{"digest": {"sha256": "1" * 64, "sha512": "2" * 128}}])), "it is of "),
        (canonical_json(made(predicate={"buildDefinition": {"resolvedDependencies": []}})), "another dataset"),
        (canonical_json(made(subject=7)), "len"),
        (b"[]", ""),
        (b'{"_type":1,"_type":2}', "key"),
        (b"\xff", "UTF-8"),
    ],
)
def test_provenance_of_something_else(content, found):
    """It is neither signed nor accepted, in one line."""
    with pytest.raises(SignatureError) as error:
        ProvenanceSubject.read(content, IMAGE, DATASET, "here")
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def content(bundle: dict[str, Any]) -> bytes:
        change(bundle)
        return json.dumps(bundle).encode()

    return content


@pytest.mark.parametrize(
    "attack",
    [
        changed(lambda it: it.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1")),
        changed(lambda it: it["dsseEnvelope"].update(payloadType="text/plain")),
        changed(lambda it: it["dsseEnvelope"].update(payload=it["dsseEnvelope"]["payload"][:-3])),
        changed(lambda it: it["dsseEnvelope"].update(payload=base64.b64encode(canonical_json(made(OTHER))).decode())),
        changed(lambda it: it["dsseEnvelope"]["signatures"].append(it["dsseEnvelope"]["signatures"][0])),
        changed(lambda it: it["dsseEnvelope"].update(signatures=[])),
        changed(lambda it: it["dsseEnvelope"]["signatures"][0].update(sig="")),
        changed(lambda it: it["dsseEnvelope"]["signatures"][0].update(sig=7)),
        lambda it: json.dumps(it).encode().replace(b'"payload"', b'"payload":"","payload"'),
        lambda it: json.dumps(it).encode()[:-9],
    ],
)
def test_an_attacked_bundle(keys, attack):
    """Whatever is done to a bundle on its way, it is refused."""
    key = read_private_key(keys.private, lambda _: None)
    subject = ProvenanceSubject.read(canonical_json(made()), IMAGE, DATASET, "here")
    good = Bundle.sign(subject.statement(), key, subject.hint(key.public)).content
    assert require_valid([Found("x", good)], subject, [key.public], "here")
    with pytest.raises(SignatureError):
        require_valid([Found("x", attack(json.loads(good)))], subject, [key.public], "here")


@pytest.mark.parametrize("kind", ["ECDSA P-384", "Ed25519"])
def test_a_key_of_another_kind_with_our_name(keys, tmp_path, kind):
    """A bundle that names our key but is by another, of any kind, is forged; the kind comes from our key alone."""
    ours, other = (
        read_private_key(path, lambda _: None) for path in (keys.private, make_keys(tmp_path, "o", kind).private)
    )
    subject = ProvenanceSubject.read(canonical_json(made()), IMAGE, DATASET, "here")
    forged = Bundle.sign(subject.statement(), other, ours.public.fingerprint)
    with pytest.raises(SignatureError, match="damaged or forged"):
        require_valid([Found("x", forged.content)], subject, [ours.public], "here")


def test_statements_by_the_key_of_other_things(keys):
    """A replayed signature of another image, or of other provenance of this one, does not count."""
    key = read_private_key(keys.private, lambda _: None)
    subject = ProvenanceSubject.read(canonical_json(made()), IMAGE, DATASET, "here")
    for other, found in (
        (made(OTHER), "the image sha256:2222"),
        (made(more=1), "another provenance of the same image"),
    ):
        bundle = Bundle.sign(canonical_json(other), key, key.public.fingerprint)
        with pytest.raises(SignatureError, match=found):
            require_valid([Found("x", bundle.content)], subject, [key.public], "here")


def test_a_thousand_attachments(built, keys):
    """More than anyone needs is not read."""
    built.ok("sign", LAYOUT, "--key", str(keys.private))
    layout = Layout(built.root / "dist/reef-v1")
    layers = [Descriptor(BUNDLE, f"sha256:{number:064x}", 10).to_json() for number in range(1000)]
    manifest = canonical_json({"artifactType": BUNDLE, "subject": {"digest": layout.image().digest}, "layers": layers})
    entry = Descriptor.of(MANIFEST, manifest)
    layout.blob(entry.digest).write_bytes(manifest)
    index = layout.read_index()
    layout.index.write_bytes(canonical_json({**index, "manifests": [*index["manifests"], entry.to_json()]}))
    done = built.run("verify", LAYOUT, "--key", str(keys.public))
    assert done.returncode == 1
    assert "too much is attached to the image" in done.stderr
