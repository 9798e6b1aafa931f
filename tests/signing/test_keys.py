"""Keys: which are accepted, who may read them, and where a passphrase comes from."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys

import pytest

from datapack.errors import UsageError
from datapack.signing.keys import PASSPHRASE, read_private_key, read_public_key
from tests import terminals
from tests.signing.keyfiles import make_keys

SUPPORTED = ["ECDSA P-256", "ECDSA P-384", "Ed25519"]


def nobody(_name: str) -> None:
    """Nobody to ask for a passphrase."""


@pytest.mark.parametrize("kind", SUPPORTED)
def test_what_a_key_signs_its_public_part_accepts(tmp_path, kind):
    """A signature is valid for its message and its key only; the fingerprint is what openssl computes."""
    files, others = make_keys(tmp_path, kind=kind), make_keys(tmp_path, "other", kind)
    key, public = read_private_key(files.private, nobody), read_public_key(files.public)
    signature = key.sign(b"a message")
    assert public.has_signed(b"a message", signature)
    assert not public.has_signed(b"another message", signature)
    assert not read_public_key(others.public).has_signed(b"a message", signature)
    assert not public.has_signed(b"a message", b"")
    assert not public.has_signed(b"a message", signature[:-1])
    assert key.sign(b"a message") == signature  # the same input gives the same bytes
    der = subprocess.check_output(["openssl", "pkey", "-pubin", "-in", files.public, "-outform", "DER"])
    assert public.fingerprint == base64.b64encode(hashlib.sha256(der).digest()).decode()
    assert public.kind == kind


def test_a_private_key_is_in_no_text(tmp_path):
    """What an error or a log could show of a key has nothing of its private part."""
    files = make_keys(tmp_path)
    secret = files.private.read_text().splitlines()[1]
    assert secret[:20] not in repr(read_private_key(files.private, nobody))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606, 0o620])
def test_a_private_key_that_others_can_read_is_refused(tmp_path, mode):
    """As ssh does: somebody else may have it already."""
    files = make_keys(tmp_path)
    files.private.chmod(mode)
    with pytest.raises(UsageError, match=f"others can read this private key: expected mode 0600, found {mode:04o}"):
        read_private_key(files.private, nobody)


def test_a_passphrase(tmp_path, monkeypatch):
    """It comes from the environment, or from the user; a wrong one, or none, is one clear line."""
    files = make_keys(tmp_path, passphrase="a secret")
    monkeypatch.delenv(PASSPHRASE, raising=False)
    with pytest.raises(UsageError, match=f"the private key has a passphrase; set {PASSPHRASE}"):
        read_private_key(files.private, nobody)
    assert read_private_key(files.private, lambda name: "a secret" if name == str(files.private) else None)
    monkeypatch.setenv(PASSPHRASE, "a secret")
    assert read_private_key(files.private, nobody)
    monkeypatch.setenv(PASSPHRASE, "another")
    with pytest.raises(UsageError, match="wrong passphrase, or a damaged key") as error:
        read_private_key(files.private, nobody)
    assert "another" not in str(error.value)


def test_a_passphrase_on_a_terminal(fetched, tmp_path, monkeypatch):
    """It is asked for by the name of the key, and what is typed is not shown."""
    files = make_keys(tmp_path, passphrase="a secret")
    monkeypatch.setattr(terminals, "PROMPT", "key.pem: ")
    command = [sys.executable, "-m", "datapack", "sign", "reef@v1", "--key", str(files.private)]
    shown = terminals.in_terminal(command, fetched.root, fetched.options()["env"], typed="a secret\n")
    assert b"signed     the dataset sha256:" in shown
    assert b"a secret" not in shown


@pytest.mark.parametrize("kind", ["RSA", "DSA", "ECDSA secp521r1", "ECDSA secp256k1"])
def test_other_kinds_of_keys_are_refused(tmp_path, kind):
    """The line says which are supported, and which this is."""
    files = make_keys(tmp_path, kind=kind)
    expected = f"expected Ed25519, ECDSA P-256 or ECDSA P-384, found {kind}"
    for read in (lambda: read_private_key(files.private, nobody), lambda: read_public_key(files.public)):
        with pytest.raises(UsageError, match=expected):
            read()


def test_what_is_no_key(tmp_path):
    """A certificate, the other half of a pair, an SSH key, a key of cosign, and junk: each line says what it is."""
    files = make_keys(tmp_path)
    certificate = tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-new", "-key", files.private, "-subj", "/CN=x", "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    path = tmp_path / "odd.pem"
    path.touch(mode=0o600)
    body = files.public.read_text().splitlines()[1]
    cases = {
        certificate.read_text(): "a certificate where a key is expected",
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJ9\n": "a format that only cosign reads|a private key",
        "ssh-ed25519 AAAA me@here\n": "an SSH key",
        "": "not a p",
        "junk": "not a p",
        f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n": "not a p|a public key",
        "x" * 70_000: "too large",
    }
    for content, what in cases.items():
        path.write_text(content)
        for read in (lambda: read_private_key(path, nobody), lambda: read_public_key(path)):
            with pytest.raises(UsageError, match=what):
                read()
    with pytest.raises(UsageError, match="a private key where a public one is expected; checking needs only"):
        read_public_key(files.private)
    with pytest.raises(UsageError, match="a public key where a private one is expected"):
        read_private_key(files.public, nobody)
    files.public.write_text(files.public.read_text() * 2)
    with pytest.raises(UsageError, match="several keys in one file; name each in a file of its own"):
        read_public_key(files.public)


def test_pkcs12(tmp_path):
    """A file with a key and a certificate, as browsers have them: the line says how to get the key out."""
    files, certificate, packed = make_keys(tmp_path), tmp_path / "cert.pem", tmp_path / "key.p12"
    command = ["openssl", "req", "-x509", "-new", "-key", files.private, "-subj", "/CN=x", "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    command = ["openssl", "pkcs12", "-export", "-inkey", files.private, "-in", certificate, "-out", packed]
    subprocess.run([*command, "-passout", "pass:x"], check=True, capture_output=True)
    packed.chmod(0o600)
    for read in (lambda: read_private_key(packed, nobody), lambda: read_public_key(packed)):
        with pytest.raises(UsageError, match=r"a key in binary form, .*: openssl pkcs12 -in key.p12"):
            read()


def test_a_key_that_is_no_file_is_not_waited_for(tmp_path):
    """A FIFO has no end, and a folder no bytes."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=r"not a regular file|can't read the file"):
            read_private_key(path, nobody)
        with pytest.raises(UsageError, match=r"not a regular file|can't read the file"):
            read_public_key(path)


def test_a_key_with_its_parameters_in_front(tmp_path):
    """`openssl ecparam -genkey` writes the name of the curve before the key."""
    path = tmp_path / "key.pem"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    path.chmod(0o600)
    assert read_private_key(path, nobody).public.kind == "ECDSA P-256"
