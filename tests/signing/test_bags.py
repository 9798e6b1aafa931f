"""Signatures of datasets: the statement is that of model-signing, and only the bytes that were signed pass."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from typing import TYPE_CHECKING

import model_signing.hashing
import model_signing.signing
import model_signing.verifying
import pytest

from datapack.signing.bundle import BUNDLE
from tests.bags import write_bag
from tests.signing.keyfiles import KeyFiles, make_keys

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Catalog

OURS = "data/reef/v1.sigstore.json"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return make_keys(tmp_path)


@pytest.fixture
def signed(fetched: Catalog, keys: KeyFiles) -> Catalog:
    """A catalog whose version is fetched and signed."""
    fetched.ok("sign", "reef@v1", "--key", str(keys.private))
    return fetched


def verify_with_model_signing(public: Path, bag: Path, signature: Path) -> None:
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(bag / "data", signature)


def change(path: Path, what: str, value: object) -> None:
    """Change one part of a bundle, named as ``a.b.0``."""
    bundle = json.loads(path.read_bytes())
    *parents, last = (int(part) if part.isdecimal() else part for part in what.split("."))
    place = bundle
    for part in parents:
        place = place[part]
    place[last] = value
    path.write_text(json.dumps(bundle))


def statement_of(path: Path) -> dict:
    return json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))


@pytest.mark.parametrize("kind", ["ECDSA P-256", "ECDSA P-384"])
def test_model_signing_accepts_what_datapack_signs(fetched, tmp_path, kind):
    """The signature of a bag is one of the folder ``data``; after a change it is not."""
    files = make_keys(tmp_path, kind=kind)
    output = fetched.ok("sign", "reef@v1", "--key", str(files.private))
    assert output.startswith("verified, every byte: reef@v1: 4 files")
    assert output.splitlines()[-1] == f"signature  {OURS}"
    bag = fetched.root / "data/reef/v1"
    verify_with_model_signing(files.public, bag, fetched.root / OURS)
    (bag / "data/z").unlink()
    with pytest.raises(ValueError, match="Missing files in model 'data': z"):
        verify_with_model_signing(files.public, bag, fetched.root / OURS)


def test_the_statement_is_what_model_signing_writes(signed, keys, tmp_path):
    """The same resources in the same order, the same digest of them all, the same bytes whenever it is signed."""
    bag = signed.root / "data/reef/v1"
    model_signing.signing.Config().use_elliptic_key_signer(private_key=keys.private).sign(
        bag / "data", tmp_path / "sig"
    )
    ours, theirs = statement_of(signed.root / OURS), statement_of(tmp_path / "sig")
    assert ours["predicate"]["resources"] == theirs["predicate"]["resources"]
    assert ours["subject"][0]["digest"] == theirs["subject"][0]["digest"]
    assert ours["subject"][0]["name"] == "reef@v1"
    assert theirs["predicate"]["serialization"].pop("ignore_paths")  # which it leaves out; a bag has no such files
    assert ours["predicate"]["serialization"] == theirs["predicate"]["serialization"]
    before = (signed.root / OURS).read_bytes()
    assert before == json.dumps(json.loads(before), sort_keys=True, separators=(",", ":")).encode()
    assert "(it was there already)" in signed.ok("sign", "reef@v1", "--key", str(keys.private))
    (signed.root / OURS).unlink()
    signed.ok("sign", "reef@v1", "--key", str(keys.private))
    assert (signed.root / OURS).read_bytes() == before


def test_names_are_sorted_as_model_signing_sorts_them(catalog, keys, tmp_path):
    """Part by part, not letter by letter: a hyphen comes before a slash, but a folder ``a`` before ``a-b``."""
    bag = tmp_path / "bag"
    write_bag(bag, {"a/x": b"1", "a-b/y": b"2", "a.c": b"3", "a/b/c": b"4", "ö": b"5", "Z": b""})
    catalog.ok("sign", str(bag), "--key", str(keys.private))
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys.private)
    signer.sign(bag / "data", tmp_path / "sig")
    ours, theirs = statement_of(tmp_path / "bag.sigstore.json"), statement_of(tmp_path / "sig")
    assert ours["predicate"]["resources"] == theirs["predicate"]["resources"]
    assert ours["subject"][0]["digest"] == theirs["subject"][0]["digest"]


def test_what_model_signing_signs_datapack_accepts(fetched, keys, tmp_path):
    """Beside the bag, or named with --signature."""
    bag = fetched.root / "data/reef/v1"
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys.private)
    signer.sign(bag / "data", tmp_path / "model.sig")
    given = ("--signature", str(tmp_path / "model.sig"))
    assert "\nsigned by the ECDSA P-256 key SHA256:" in fetched.ok(
        "verify", "reef@v1", "--key", str(keys.public), *given
    )
    shutil.copy(tmp_path / "model.sig", fetched.root / "data/reef/v1.others.sigstore.json")
    found = json.loads(fetched.ok("verify", "reef@v1", "--key", str(keys.public), "--json"))
    assert found["signed_by"]["signature"].endswith("data/reef/v1.others.sigstore.json")
    (bag / ".gitignore").touch()  # of the bag, not of the data


def test_a_form_of_model_signing_that_hashes_something_else(fetched, keys, tmp_path):
    """Parts of files, or another hash: a signature by the right key that can't be compared with the manifest."""
    bag = fetched.root / "data/reef/v1"
    for hashing in (
        model_signing.hashing.Config().use_shard_serialization(shard_size=1000),
        model_signing.hashing.Config().use_file_serialization(hashing_algorithm="blake2"),
    ):
        config = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys.private)
        config.set_hashing_config(hashing).sign(bag / "data", tmp_path / "sig")
        error = fetched.fails(
            "verify", "reef@v1", "--key", str(keys.public), "--signature", str(tmp_path / "sig"), status=3
        )
        assert "what this key signed is not this dataset" in error
        assert "its statement can't be read: it hashes '" in error


def test_ed25519(fetched, tmp_path):
    """datapack signs and verifies with it too; model-signing can't read such keys."""
    files = make_keys(tmp_path, kind="Ed25519")
    fetched.ok("sign", "reef@v1", "--key", str(files.private))
    assert "signed by the Ed25519 key SHA256:" in fetched.ok("verify", "reef@v1", "--key", str(files.public))
    with pytest.raises(AttributeError):
        verify_with_model_signing(files.public, fetched.root / "data/reef/v1", fetched.root / OURS)


def test_without_a_key_signatures_are_only_counted(fetched, keys):
    """Nothing is said to be signed unless somebody said whose key counts."""
    assert "sign" not in fetched.ok("verify", "reef@v1")
    fetched.ok("sign", "reef@v1", "--key", str(keys.private))
    assert "\nsignatures: 1 found, NOT checked: name the signer's public key with --key" in fetched.ok(
        "verify", "reef@v1"
    )
    assert json.loads(fetched.ok("verify", "reef@v1", "--json"))["signed_by"] is None
    (fetched.root / OURS).write_bytes(b"junk")
    assert "NOT checked" in fetched.ok("verify", "reef@v1")


def test_no_signature(fetched, keys):
    """With a key, a version that nobody signed fails."""
    error = fetched.fails("verify", "reef@v1", "--key", str(keys.public), status=3)
    assert "error: reef@v1: not signed: expected a signature of the dataset sha256:" in error
    assert "found none; sign it with 'datapack sign'" in error
    error = fetched.fails("verify", "reef@v1", "--key", str(keys.public), "--quick", status=2)
    assert "a signature is of bytes, and a quick check reads none" in error


def test_another_key(signed, keys, tmp_path):
    """A key that did not sign fails; of several keys one is enough, and the output says which."""
    other = make_keys(tmp_path, "other")
    error = signed.fails("verify", "reef@v1", "--key", str(other.public), status=3)
    assert "signed by another key: expected a signature of the dataset" in error
    both = ("--key", str(other.public), "--key", str(keys.public))
    one = signed.ok("verify", "reef@v1", "--key", str(keys.public)).splitlines()[-1]
    assert signed.ok("verify", "reef@v1", *both).splitlines()[-1] == one


def test_a_second_signer(signed, keys, tmp_path):
    """No signature is lost: the second one goes beside the first, and both count."""
    other = make_keys(tmp_path, "other")
    error = signed.fails("sign", "reef@v1", "--key", str(other.private), status=2)
    assert "a signature by another key is here" in error
    name = re.search(r"--output (\S+)", error)[1].replace("NAME", "second")
    signed.ok("sign", "reef@v1", "--key", str(other.private), "--output", name)
    for public in (keys.public, other.public):
        assert "\nsigned by " in signed.ok("verify", "reef@v1", "--key", str(public))
    assert "signatures: 2 found" in signed.ok("verify", "reef@v1")


def test_a_key_in_the_bundle_is_never_trusted(signed, keys, tmp_path):
    """A signature with one's own key and another's hint is not a signature by that other."""
    other = make_keys(tmp_path, "other")
    hint = json.loads((signed.root / OURS).read_bytes())["verificationMaterial"]["publicKey"]["hint"]
    (signed.root / OURS).unlink()
    signed.ok("sign", "reef@v1", "--key", str(other.private))
    change(signed.root / OURS, "verificationMaterial.publicKey.hint", hint)
    change(
        signed.root / OURS,
        "verificationMaterial.publicKey.rawBytes",
        base64.b64encode(keys.public.read_bytes()).decode(),
    )
    error = signed.fails("verify", "reef@v1", "--key", str(keys.public), status=3)
    assert "the signature is damaged or forged: it is not by the ECDSA P-256 key SHA256:" in error
    change(signed.root / OURS, "verificationMaterial.publicKey", {})
    assert "\nsigned by " in signed.ok("verify", "reef@v1", "--key", str(other.public))  # a hint is only a hint


@pytest.mark.parametrize(
    ("what", "value", "error"),
    [
        ("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1", "expected a Sigstore bundle"),
        ("mediaType", None, "expected a Sigstore bundle"),
        ("verificationMaterial", 7, "the signature can't be read"),
        ("verificationMaterial.publicKey", [7], "the signature can't be read"),
        ("verificationMaterial.publicKey.hint", ["a"], "the signature can't be read"),
        ("dsseEnvelope", None, "the signature can't be read"),
        ("dsseEnvelope.payloadType", "text/plain", "found 'text/plain'"),
        ("dsseEnvelope.payload", "e30=", "the signature is damaged or forged"),
        ("dsseEnvelope.payload", "not base64!", "found base64: "),
        ("dsseEnvelope.payload", 3, "the signature can't be read"),
        ("dsseEnvelope.signatures", [], "found 0 signatures"),
        ("dsseEnvelope.signatures", [{"sig": "AA=="}, {"sig": "AA=="}], "found 2 signatures"),
        ("dsseEnvelope.signatures.0.sig", "AAAA", "the signature is damaged or forged"),
        ("dsseEnvelope.signatures.0", {}, "found no 'sig'"),
    ],
)
def test_a_bundle_that_was_changed(signed, keys, what, value, error):
    """Anyone may write into it: each change is one clear line, and none passes."""
    change(signed.root / OURS, what, value)
    assert error in signed.fails("verify", "reef@v1", "--key", str(keys.public), status=3)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"null", b"{}{}", b"[" * 100_000, b'{"mediaType": "x", "mediaType": "y"}', b"<html>"],
)
def test_a_file_that_is_no_bundle(signed, keys, content):
    """Junk is one line, and `sign` does not overwrite it."""
    (signed.root / OURS).write_bytes(content)
    error = signed.fails("verify", "reef@v1", "--key", str(keys.public), status=3)
    assert "the signature can't be read" in error
    error = signed.fails("sign", "reef@v1", "--key", str(keys.private), status=2)
    assert "something else is where the signature should go" in error
    assert (signed.root / OURS).read_bytes() == content


def test_a_huge_bundle(signed, keys):
    """It is not read."""
    with (signed.root / OURS).open("wb") as file:
        file.truncate(1 << 40)
    error = signed.fails("verify", "reef@v1", "--key", str(keys.public), status=3)
    assert "the file is too large: expected at most 67.1 MB, found 1.1 TB" in error


def test_a_file_that_changed_after_signing(signed, keys):
    """The bag itself is wrong, and nothing is said of a signature."""
    (signed.root / "data/reef/v1/data/z").chmod(0o644)
    (signed.root / "data/reef/v1/data/z").write_bytes(b"y")
    error = signed.fails("verify", "reef@v1", "--key", str(keys.public), status=3)
    assert "the data does not match its manifest: found 1 changed" in error
    assert "the data does not match its manifest" in signed.fails(
        "sign", "reef@v1", "--key", str(keys.private), status=3
    )


def test_a_manifest_that_changed_with_all_its_tag_files(tmp_path, keys, catalog):
    """A bag that is sound in itself, but not the one that was signed: what differs is named."""
    files = {"a.png": b"one", "b/c.png": b"two"}
    bag = tmp_path / "bag"
    write_bag(bag, files)
    catalog.ok("sign", str(bag), "--key", str(keys.private))
    assert "\nsigned by " in catalog.ok("verify", str(bag), "--key", str(keys.public))
    for others, found in (
        ({**files, "a.png": b"forged"}, "1 changed, such as a.png"),
        ({**files, "new": b""}, "1 extra, such as new"),
        ({"a.png": b"one"}, "1 missing, such as b/c.png"),
    ):
        shutil.rmtree(bag)
        write_bag(bag, others)
        assert catalog.ok("verify", str(bag)).startswith("verified, every byte")
        error = catalog.fails("verify", str(bag), "--key", str(keys.public), status=3)
        assert "what this key signed is not this dataset" in error
        assert f"it is of other files: {found}" in error
    catalog.ok("sign", str(bag), "--key", str(keys.private))  # its owner may sign the new one: the same key replaces
    assert "\nsigned by " in catalog.ok("verify", str(bag), "--key", str(keys.public))


def test_bags_of_other_tools(tmp_path, keys, catalog):
    """One with a sha256 manifest can be signed, whatever its form; one with another hash can't."""
    bag = tmp_path / "bag"
    write_bag(bag, {"a": b"one", "b": b"two"})
    manifest = bag / "manifest-sha256.txt"
    manifest.write_text("".join(reversed(manifest.read_text().splitlines(keepends=True))))
    (bag / "tagmanifest-sha256.txt").unlink()
    catalog.ok("sign", str(bag), "--key", str(keys.private))
    verify_with_model_signing(keys.public, bag, tmp_path / "bag.sigstore.json")
    manifest.unlink()
    lines = (f"{hashlib.sha512((bag / 'data' / name).read_bytes()).hexdigest()}  data/{name}\n" for name in "ab")
    (bag / "manifest-sha512.txt").write_text("".join(lines))
    assert catalog.ok("verify", str(bag)).startswith("verified, every byte")
    error = catalog.fails("sign", str(bag), "--key", str(keys.private), status=3)
    assert "expected manifest-sha256.txt with all its files, found manifest-sha512.txt" in error


def test_a_statement_that_the_right_key_signed(fetched, keys):
    """Two subjects, a file named twice, another digest of them all, no statement: none is about exactly this bag."""
    from datapack.signing.bundle import Bundle
    from datapack.signing.keys import read_private_key
    from datapack.verify.signatures import dataset_subject

    key = read_private_key(keys.private, lambda _: None)
    digest = json.loads(fetched.ok("verify", "reef@v1", "--json"))["digest"]
    good = json.loads(dataset_subject(fetched.root / "data/reef/v1", digest).statement())
    resources = good["predicate"]["resources"]
    odd = [
        {**good, "subject": good["subject"] * 2},
        {**good, "subject": []},
        {**good, "subject": None},
        {**good, "subject": [{"digest": {"sha256": "0" * 64}}]},
        {**good, "_type": "https://in-toto.io/Statement/v0.1"},
        {**good, "predicateType": "https://slsa.dev/provenance/v1"},
        {**good, "predicateType": {"a": 1}},
        {**good, "predicate": {**good["predicate"], "resources": [*resources, resources[0]]}},
        {**good, "predicate": {**good["predicate"], "resources": [{**resources[0], "digest": "x"}]}},
        {**good, "predicate": {**good["predicate"], "resources": [7]}},
        {**good, "predicate": {"resources": resources}},
        {**good, "predicate": []},
        [good],
        7,
    ]
    for statement in [json.dumps(value).encode() for value in odd] + [b"", b"{}{}", b"\xff"]:
        (fetched.root / OURS).write_bytes(Bundle.sign(statement, key, "").content)
        error = fetched.fails("verify", "reef@v1", "--key", str(keys.public), status=3)
        assert "what this key signed is not this dataset" in error
    (fetched.root / OURS).write_bytes(Bundle.sign(json.dumps(good, indent=1).encode(), key, "").content)
    assert "\nsigned by " in fetched.ok("verify", "reef@v1", "--key", str(keys.public))


def test_where_a_signature_can_go(fetched, keys):
    """A folder in its place, or no folder for it, is one line before anything is written."""
    (fetched.root / OURS).mkdir()
    error = fetched.fails("sign", "reef@v1", "--key", str(keys.private), status=2)
    assert "a folder is where the signature should go" in error
    error = fetched.fails("sign", "reef@v1", "--key", str(keys.private), "--output", "no/such/file", status=2)
    assert "no such folder" in error
    fetched.ok("sign", "reef@v1", "--key", str(keys.private), "--output", "here.json")
    assert json.loads((fetched.root / "here.json").read_bytes())["mediaType"] == BUNDLE
    assert fetched.leftovers() == []
