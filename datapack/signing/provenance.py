"""Provenance as something that is signed: the statement itself, which names the image by its digest.

So one signature covers the image and all that is said of how it was made. cosign calls that an attestation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.bag.manifest import MANIFEST
from datapack.errors import SignatureError
from datapack.hashing import digest_of
from datapack.jsonfile import parse_json
from datapack.oci.spec import canonical_json
from datapack.signing.bundle import IN_TOTO, LIMIT
from datapack.signing.subject import SLSA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datapack.signing.keys import PublicKey


@dataclass(frozen=True)
class ProvenanceSubject:
    """The provenance of an image, of which it names the digest."""

    image: str  # the image's digest
    content: bytes  # the statement

    what = "provenance"
    predicate_type = SLSA

    @classmethod
    def read(cls, content: bytes, image: str, dataset: str, where: object) -> ProvenanceSubject:
        """Read a statement that anyone may have written.

        Args:
            content: the statement.
            image: the digest of the image that was verified.
            dataset: the digest of the dataset in it.
            where: where the statement is from, for errors.

        Raises:
            SignatureError: it is not provenance of exactly this image with this dataset.
        """
        value = parse_json(content, where, SignatureError, limit=LIMIT)
        try:
            _check(value, image, dataset)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found = f"no {error}" if isinstance(error, KeyError) else str(error)[:200]
            what, fix = "not provenance of this image", "build the image again, or remove what is not yours"
            raise SignatureError(what, where=where, expected=image, found=found, fix=fix) from error
        return cls(image, content)

    @property
    def digest(self) -> str:
        return digest_of(self.content)

    def statement(self) -> bytes:
        return self.content

    def hint(self, key: PublicKey) -> str:
        return key.fingerprint

    def fault(self, statement: Mapping[str, Any]) -> str:
        if canonical_json(statement) == canonical_json(parse_json(self.content, self.what, SignatureError, limit=None)):
            return ""
        (subject,) = statement["subject"]
        found = f"sha256:{subject['digest']['sha256']}"
        if found != self.image:
            return f"it is of the provenance of the image {found:.100}"
        return f"it is of another provenance of the same image, {digest_of(canonical_json(statement))}"


def _check(value: dict[str, Any], image: str, dataset: str) -> None:
    """Raise an error of Python's own, with what was found, if a statement is of anything else."""
    for key, expected in (("_type", IN_TOTO), ("predicateType", SLSA)):
        if value[key] != expected:
            raise ValueError(f"{key} {value[key]!r:.100}")
    if len(value["subject"]) != 1:
        raise ValueError(f"{len(value['subject'])} subjects")
    found = value["subject"][0]["digest"]
    if found != _digest(image):
        raise ValueError(f"it is of {found!r:.100}")
    parts = value["predicate"]["buildDefinition"]["resolvedDependencies"]
    manifests = [part["digest"] for part in parts if part.get("name") == MANIFEST]
    if manifests != [_digest(dataset)]:
        raise ValueError(f"it names another dataset, {manifests!r:.100}")


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}
