"""Keys for tests, in files as openssl writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS: dict[
    str, Callable[[], ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey]
] = {
    "ECDSA P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSA P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "DSA": lambda: dsa.generate_private_key(2048),
    "ECDSA secp521r1": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ECDSA secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
}


class KeyFiles(NamedTuple):
    """The files of a pair of keys."""

    private: Path
    public: Path


def make_keys(folder: Path, name: str = "key", kind: str = "ECDSA P-256", passphrase: str = "") -> KeyFiles:
    """Write a new pair of keys: ``NAME.pem``, which only its owner can read, and ``NAME.pub``."""
    key = KINDS[kind]()
    files = KeyFiles(folder / f"{name}.pem", folder / f"{name}.pub")
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    files.private.touch(mode=0o600)
    files.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files.public.write_bytes(public)
    return files
