"""What is signed: a dataset, by the sha256 of each of its files, or an image, by its digest, or an image's provenance.

A subject makes the statement that is signed, and compares a statement that somebody else signed with itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from datapack.bag.changes import Difference
from datapack.bag.manifest import PAYLOAD, Manifest, sorted_by_bytes
from datapack.errors import DatapackError
from datapack.hashing import is_digest
from datapack.oci.spec import canonical_json
from datapack.signing.bundle import IN_TOTO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datapack.signing.keys import PublicKey

MODEL_SIGNING = "https://model_signing/signature/v1.0"  # the predicate types of the statements
COSIGN = "https://sigstore.dev/cosign/sign/v1"
SLSA = "https://slsa.dev/provenance/v1"
_KINDS = {MODEL_SIGNING: "the files of a dataset", COSIGN: "an image", SLSA: "an image's provenance"}
_HASH = "sha256"
#: How model-signing hashes: each file as a whole.
_SERIALIZATION = {"method": "files", "hash_type": _HASH, "allow_symlinks": False}


class Subject(Protocol):
    """What can be signed."""

    @property
    def what(self) -> str:
        """What it is: ``dataset``, ``image`` or ``provenance``."""

    @property
    def digest(self) -> str:
        """Its digest, for people."""

    @property
    def predicate_type(self) -> str:
        """The type of its statement."""

    def statement(self) -> bytes:
        """Return the statement that is signed."""

    def hint(self, key: PublicKey) -> str:
        """Return what the tools that read its signature call a key."""

    def fault(self, statement: Mapping[str, Any]) -> str:
        """Say why a statement is not about exactly this, in words; empty if it is."""


@dataclass(frozen=True)
class ImageSubject:
    """An image, by the digest of its manifest."""

    digest: str

    what = "image"
    predicate_type = COSIGN

    def statement(self) -> bytes:
        return _statement({"digest": {_HASH: self.digest.removeprefix("sha256:")}}, COSIGN, {})

    def hint(self, key: PublicKey) -> str:
        return key.fingerprint

    def fault(self, statement: Mapping[str, Any]) -> str:
        found = f"{_HASH}:{_only_subject(statement)['digest'][_HASH]}"
        return "" if found == self.digest else f"it is of the image {found:.100}"


@dataclass(frozen=True)
class DatasetSubject:
    """A dataset: its payload files, which OpenSSF Model Signing calls a model."""

    name: str
    digest: str  # of the dataset
    files: Mapping[str, str] | None = None  # the sha256 of each, by its path below ``data/``; None if not known

    what = "dataset"
    predicate_type = MODEL_SIGNING

    def statement(self) -> bytes:
        files = self.files or {}
        ordered = sorted(files, key=lambda path: path.split("/"))  # as model-signing sorts paths, part by part
        resources = [{"name": path, "algorithm": _HASH, "digest": files[path]} for path in ordered]
        subject = {"name": self.name, "digest": {_HASH: _root(files[path] for path in ordered)}}
        return _statement(subject, MODEL_SIGNING, {"serialization": _SERIALIZATION, "resources": resources})

    def hint(self, key: PublicKey) -> str:
        return key.model_hint

    def fault(self, statement: Mapping[str, Any]) -> str:
        signed = _signed_files(statement)
        if self.files is None:
            found = Manifest.of({f"{PAYLOAD}/{path}": digest for path, digest in signed.items()}).digest
            return "" if found == self.digest else f"it is of the dataset {found}"
        return _describe(_compare(signed, self.files))


def _statement(subject: dict[str, Any], predicate_type: str, predicate: dict[str, Any]) -> bytes:
    return canonical_json(
        {"_type": IN_TOTO, "subject": [subject], "predicateType": predicate_type, "predicate": predicate}
    )


def _only_subject(statement: Mapping[str, Any]) -> dict[str, Any]:
    (subject,) = statement["subject"]
    return dict(subject)


def _root(digests: Any) -> str:
    """Return model-signing's digest of several digests, in hex."""
    root = hashlib.sha256()
    for digest in digests:
        root.update(bytes.fromhex(digest))
    return root.hexdigest()


def _signed_files(statement: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of each file that a statement of model-signing names; raise `ValueError` for other forms."""
    how, resources = statement["predicate"]["serialization"], statement["predicate"]["resources"]
    if (how["method"], how["hash_type"]) != (_SERIALIZATION["method"], _HASH):
        raise ValueError(f"it hashes {how['method']!r:.40} with {how['hash_type']!r:.40}, not whole files with sha256")
    files = {part["name"]: part["digest"] for part in resources if is_digest(f"{part['algorithm']}:{part['digest']}")}
    if len(files) != len(resources):
        raise ValueError("it names a file twice, or has something else than the sha256 of one")
    if _only_subject(statement)["digest"][_HASH] != _root(part["digest"] for part in resources):
        raise ValueError("its digest is not that of the files that it names")
    return files


def _compare(signed: Mapping[str, str], found: Mapping[str, str]) -> Difference:
    """Compare the files that are signed with those that are here."""
    return Difference(
        missing=tuple(sorted_by_bytes(signed.keys() - found.keys())),
        extra=tuple(sorted_by_bytes(found.keys() - signed.keys())),
        changed=tuple(sorted_by_bytes(path for path in signed.keys() & found.keys() if signed[path] != found[path])),
    )


def _describe(difference: Difference) -> str:
    if not difference:
        return ""
    return f"it is of other files: {difference}, such as {difference.lines()[0].split(maxsplit=1)[1]}"


def read_fault(subject: Subject, statement: Mapping[str, Any]) -> str:
    """Say why a statement is not about exactly this subject; empty if it is. Anyone may have written the statement."""
    if statement.get("predicateType") != subject.predicate_type:
        kind = statement.get("predicateType")
        if isinstance(kind, str) and kind in _KINDS:
            return f"it is of {_KINDS[kind]}, not of {_KINDS[subject.predicate_type]}"
        return f"it is a statement of another kind, {kind!r:.100}"
    try:
        return subject.fault(statement)
    except (KeyError, TypeError, ValueError, AttributeError, DatapackError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)[:200]
        return f"its statement can't be read: {what}"
