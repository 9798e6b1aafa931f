"""The Sigstore bundle (v0.3): a signed statement in one JSON file, with a hint that says which key signed it.

The statement is in a DSSE envelope, whose signature is of the statement's type and bytes. Nothing in a bundle is
trusted: the key always comes from the user, and the hint only says what to look at first.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.errors import SignatureError
from datapack.jsonfile import parse_json
from datapack.oci.spec import STATEMENT, canonical_json
from datapack.text import size

if TYPE_CHECKING:
    from datapack.signing.keys import PrivateKey, PublicKey

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO = "https://in-toto.io/Statement/v1"
LIMIT = 64 << 20  # bytes: the statement of 250,000 files
_FORM = f"a Sigstore bundle, {BUNDLE}, with one signed in-toto statement"


@dataclass(frozen=True)
class Bundle:
    """A signed statement."""

    statement: bytes
    signature: bytes
    hint: str = ""  # of the key, as the signer wrote it; empty if it wrote none

    @classmethod
    def sign(cls, statement: bytes, key: PrivateKey, hint: str) -> Bundle:
        """Sign a statement. ``hint`` is what the tools that read it call the key."""
        return cls(statement, key.sign(_signed_bytes(statement)), hint)

    @classmethod
    def parse(cls, content: bytes, where: object) -> Bundle:
        """Read a bundle; raise `SignatureError` for anything else, or for one without a DSSE envelope."""
        if len(content) > LIMIT:
            raise SignatureError("too large for a signature", where=where, found=size(len(content)))
        value = parse_json(content, where, SignatureError, limit=None)
        try:
            return cls._read(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found = f"no {error}" if isinstance(error, KeyError) else str(error)[:200]
            raise SignatureError("not a signature", where=where, expected=_FORM, found=found) from error

    @classmethod
    def _read(cls, value: Any) -> Bundle:
        if value["mediaType"] != BUNDLE:
            raise ValueError(f"{value['mediaType']!r:.100}")
        hint = (value["verificationMaterial"].get("publicKey") or {}).get("hint") or ""
        envelope = value["dsseEnvelope"]
        if envelope["payloadType"] != STATEMENT:
            raise ValueError(f"{envelope['payloadType']!r:.100}")
        if len(envelope["signatures"]) != 1:
            raise ValueError(f"{len(envelope['signatures'])} signatures")
        return cls(_decode(envelope["payload"]), _decode(envelope["signatures"][0]["sig"]), _text(hint))

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        envelope = {
            "payload": base64.b64encode(self.statement).decode(),
            "payloadType": STATEMENT,
            "signatures": [{"sig": base64.b64encode(self.signature).decode()}],
        }
        material = {"publicKey": {"hint": self.hint}, "tlogEntries": []}  # Python's sigstore wants the empty list
        return canonical_json({"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope})

    def is_by(self, key: PublicKey) -> bool:
        """Whether a key has signed the statement."""
        return key.has_signed(_signed_bytes(self.statement), self.signature)

    def names(self, key: PublicKey) -> bool:
        """Whether the bundle names this key. That is only a hint: anyone can write it."""
        return self.hint in {key.fingerprint, key.model_hint}

    def read_statement(self, where: object) -> dict[str, Any]:
        """Return the in-toto statement; raise `SignatureError` if it is something else."""
        value = parse_json(self.statement, where, SignatureError, limit=None)
        if not isinstance(value, dict) or value.get("_type") != IN_TOTO:
            found = repr(value.get("_type"))[:200] if isinstance(value, dict) else type(value).__name__
            raise SignatureError("not a statement of in-toto v1", where=where, expected=IN_TOTO, found=found)
        return value


def _signed_bytes(statement: bytes) -> bytes:
    """Return what DSSE signs: the type and the statement, each with its length (its pre-authentication encoding)."""
    return b"DSSEv1 %d %s %d %s" % (len(STATEMENT), STATEMENT.encode(), len(statement), statement)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64: {error}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100}")
    return value
