"""The SBOM that an image's provenance names by its digest. A signature of the provenance so covers the SBOM too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from datapack.errors import DatapackError, MismatchError, SignatureError
from datapack.hashing import digest_of
from datapack.jsonfile import parse_json
from datapack.oci.spec import CYCLONEDX

if TYPE_CHECKING:
    from collections.abc import Iterable

SBOM = "sbom.cdx.json"  # its name in the provenance and in a registry, whatever the file is called


class FoundSbom(NamedTuple):
    """An SBOM that was found: where, and the digest of its bytes."""

    where: str
    digest: str


def byproduct(content: bytes) -> dict[str, Any]:
    """Describe an SBOM as something that a build makes besides the image."""
    return {"name": SBOM, "digest": {"sha256": digest_of(content).removeprefix("sha256:")}, "mediaType": CYCLONEDX}


def check_sboms(image: str, statements: Iterable[bytes], found: Iterable[FoundSbom]) -> bool:
    """Check that each SBOM of an image is one that its provenance names.

    Args:
        image: the image's digest.
        statements: those that were found; only those of this image count.
        found: the SBOMs.

    Returns:
        Whether the provenance names any; without, there is nothing to compare with.

    Raises:
        MismatchError: an SBOM is another one.
    """
    named = {digest for statement in statements for digest in _named(statement, image)}
    for one in found if named else ():
        if one.digest not in named:
            raise MismatchError(
                "the SBOM is not the one that the image's provenance names",
                where=one.where,
                expected=" or ".join(sorted(named)),
                found=one.digest,
                fix="do not use it; get the one that was made with the image, or build the image again",
            )
    return bool(named)


def _named(statement: bytes, image: str) -> list[str]:
    """Return the digests of the SBOM in a statement that anyone may have written; none if it is of another image."""
    try:
        value = parse_json(statement, SBOM, SignatureError, limit=None)
        if value["subject"][0]["digest"] != {"sha256": image.removeprefix("sha256:")}:
            return []
        parts = value["predicate"]["runDetails"]["byproducts"]
        return [f"sha256:{part['digest']['sha256']}" for part in parts if part["name"] == SBOM]
    except (DatapackError, KeyError, IndexError, TypeError, AttributeError):
        return []
