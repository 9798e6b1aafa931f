"""Keys in PEM files: Ed25519, or ECDSA on the curve P-256 or P-384.

A key is known by its fingerprint: the sha256 of its public part (SubjectPublicKeyInfo, DER), in base64, as ssh shows
it. ``openssl pkey -pubin -in key.pub -outform DER | openssl dgst -sha256 -binary | base64`` prints the same.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, types

from datapack.errors import UsageError
from datapack.files import open_regular, read_limited

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PASSPHRASE = "DATAPACK_KEY_PASSPHRASE"  # noqa: S105 - the name of an environment variable
_LIMIT = 64 << 10  # bytes of a file with a key
_CURVES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": ("ECDSA P-256", hashes.SHA256()),
    "secp384r1": ("ECDSA P-384", hashes.SHA384()),
}
_EXPECTED = "Ed25519, ECDSA P-256 or ECDSA P-384"
_MAKE = "make one with 'openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out key.pem'"
_OTHERS_READ = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class PublicKey:
    """The public part of a key, which checks signatures."""

    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

    @property
    def kind(self) -> str:
        return _CURVES[self.key.curve.name][0] if isinstance(self.key, ec.EllipticCurvePublicKey) else "Ed25519"

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the key in base64, which cosign calls its hint."""
        return base64.b64encode(hashlib.sha256(self._encoded(serialization.Encoding.DER)).digest()).decode()

    @cached_property
    def model_hint(self) -> str:
        """What `model-signing` calls the key: the sha256 of its PEM encoding in hex."""
        return hashlib.sha256(self._encoded(serialization.Encoding.PEM)).hexdigest()

    def __str__(self) -> str:
        return f"the {self.kind} key SHA256:{self.fingerprint}"

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is of this message and by this key."""
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature, message, ec.ECDSA(_CURVES[self.key.curve.name][1]))
            else:
                self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def _encoded(self, encoding: serialization.Encoding) -> bytes:
        return self.key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class PrivateKey:
    """A key that signs. Its representation does not show it."""

    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message; where the library can do it, the same one for the same message."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        digest = _CURVES[self.key.curve.name][1]
        try:
            algorithm = ec.ECDSA(digest, deterministic_signing=True)
        except UnsupportedAlgorithm:  # an OpenSSL before 3.2
            algorithm = ec.ECDSA(digest)
        return self.key.sign(message, algorithm)


def read_public_key(path: Path) -> PublicKey:
    """Read a public key; raise `UsageError` for anything else, a private key included."""
    content = read_limited(path, _LIMIT, UsageError)
    if b"PRIVATE KEY-----" in content:
        fix = f"checking needs only the public part: openssl pkey -in {path.name} -pubout -out {path.stem}.pub"
        raise UsageError("a private key where a public one is expected", where=path, fix=fix)
    _check_form(content, path)
    if content.count(b"-----BEGIN ") > 1:
        raise UsageError(
            "several keys in one file", where=path, fix="name each in a file of its own, with its own --key"
        )
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(
            "not a public key", where=path, expected="one in PEM format", found=_reason(content)
        ) from error
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise _unsupported(key, path)
    _check_curve(key, path)
    return PublicKey(key)


def read_private_key(path: Path, ask: Callable[[str], str | None]) -> PrivateKey:
    """Read a private key that only its owner can read.

    Args:
        path: the file.
        ask: asks the user for the passphrase of the file that is named; None if there is nobody to ask.

    Raises:
        UsageError: it is something else, others can read it, or the passphrase is wrong or missing.
    """
    content, mode = _read_with_mode(path)
    if b"PUBLIC KEY-----" in content and b"PRIVATE KEY-----" not in content:
        raise UsageError("a public key where a private one is expected", where=path, fix="name the key that signs")
    _check_form(content, path)
    if mode & _OTHERS_READ:  # ssh refuses such a key too
        found, fix = f"{mode:04o}", f"chmod 600 {path.name}; if others may have read it, make a new key"
        raise UsageError("others can read this private key", where=path, expected="mode 0600", found=found, fix=fix)
    try:
        key = _load_private(content, path, ask)
    except (ValueError, UnsupportedAlgorithm) as error:
        expected, found = "one in PEM format", _reason(content)
        raise UsageError("not a private key", where=path, expected=expected, found=found, fix=_MAKE) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise _unsupported(key, path)
    _check_curve(key.public_key(), path)
    return PrivateKey(key)


def _read_with_mode(path: Path) -> tuple[bytes, int]:
    """Read a key and the permissions of the file that was read."""
    with open_regular(path, UsageError) as file:
        content, mode = file.read(_LIMIT + 1), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    if len(content) > _LIMIT:
        raise UsageError("the file is too large for a key", where=path, expected=f"at most {_LIMIT:,} bytes")
    return content, mode


def _load_private(content: bytes, path: Path, ask: Callable[[str], str | None]) -> types.PrivateKeyTypes:
    """Load a key; ask for its passphrase if it has one."""
    try:
        return serialization.load_pem_private_key(content, None)
    except TypeError:  # it is encrypted
        pass
    phrase = os.environ.get(PASSPHRASE) or ask(str(path))
    if not phrase:
        fix = f"set {PASSPHRASE} in the environment, or run this in a terminal"
        raise UsageError("the private key has a passphrase", where=path, fix=fix)
    try:
        return serialization.load_pem_private_key(content, phrase.encode())
    except ValueError:
        raise UsageError("wrong passphrase, or a damaged key", where=path) from None


def _check_form(content: bytes, path: Path) -> None:
    """Refuse what is not a key in PEM format but may be taken for one."""
    if b"-----BEGIN CERTIFICATE" in content:
        fix = f"extract its public key if you trust it: openssl x509 -in {path.name} -pubkey -noout"
        raise UsageError("a certificate where a key is expected", where=path, fix=fix)
    if b"SIGSTORE PRIVATE KEY-----" in content or b"COSIGN PRIVATE KEY-----" in content:
        fix = f"{_MAKE}; cosign takes it with 'cosign import-key-pair'"
        raise UsageError("a key in a format that only cosign reads", where=path, fix=fix)
    if content.startswith(b"\x30"):  # a sequence in ASN.1
        fix = f"convert it: openssl pkcs12 -in {path.name} -nocerts, or openssl pkey -inform DER"
        raise UsageError("a key in binary form, such as PKCS#12 or DER", where=path, expected="PEM format", fix=fix)
    if b"-----BEGIN OPENSSH" in content or content.startswith((b"ssh-", b"ecdsa-")):
        raise UsageError("an SSH key", where=path, expected="one in PEM format", fix=_MAKE)


def _check_curve(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey, path: Path) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        found = f"ECDSA {key.curve.name}"
        raise UsageError("a kind of key that is not supported", where=path, expected=_EXPECTED, found=found)


def _unsupported(key: object, path: Path) -> UsageError:
    found = type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey").lstrip("_")
    return UsageError("a kind of key that is not supported", where=path, expected=_EXPECTED, found=found)


def _reason(content: bytes) -> str:
    return "a damaged one" if content.lstrip().startswith(b"-----BEGIN ") else f"{content[:40]!a}"
