"""What lies beside an image, or is attached to it: its provenance, signatures and SBOM; and receipts of rehearsals."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from datapack.errors import DatapackError, SignatureError
from datapack.files import read_limited
from datapack.hashing import digest_of
from datapack.ingress.record import Evidence, Rehearsal, Signed
from datapack.jsonfile import parse_json
from datapack.oci.boundary import boundary
from datapack.oci.image import read_part
from datapack.oci.named_sbom import FoundSbom, check_sboms
from datapack.oci.spec import CYCLONEDX
from datapack.registry.referrers import find_layers
from datapack.signing.bundle import Bundle
from datapack.signing.check import find_valid
from datapack.signing.files import files_beside, read_found
from datapack.signing.subject import DatasetSubject, ImageSubject, read_fault
from datapack.verify.signatures import SBOM_LIMIT, InRegistry, check_image_sboms, check_signatures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datapack.reference import Reference
    from datapack.signing.check import Found
    from datapack.signing.keys import PublicKey
    from datapack.signing.provenance import ProvenanceSubject
    from datapack.signing.subject import Subject
    from datapack.verify import Verified
    from datapack.verify.signatures import Place
    from datapack.workspace.folder import Workspace

_LIMIT = 16 << 20  # bytes of a statement
_RECEIPT_LIMIT = 1 << 20  # bytes
_MOST_REHEARSALS = 3  # the last ones
NOT_VERIFIED: Literal["present, not verified"] = "present, not verified"


def evidence_of(
    workspace: Workspace, text: str, path: Path | None, place: Place, verified: Verified, keys: Sequence[PublicKey]
) -> tuple[list[Evidence], tuple[Signed, Signed]]:
    """Return what belongs to an image, and whether the image and its provenance are signed.

    Args:
        workspace: where the version is.
        text: what the user calls the image.
        path: the layout or archive; None for an image in a registry.
        place: where its signatures are.
        verified: the outcome of the image's verification.
        keys: the public keys that the user trusts; without any, no signature is verified.

    Raises:
        SignatureError: there are keys, and none of them has signed the image, or the provenance that it has.
        MismatchError: the image's SBOM is not the one that its provenance names.
    """
    image, dataset = ImageSubject(verified.image), DatasetSubject(str(verified.reference), verified.digest)
    if keys:
        check_signatures(text, image, place, keys)
    else:
        check_image_sboms(place, verified.image)
    evidence, made = _provenance(workspace, path, place, verified)
    found = place.find()
    if verified.reference:
        found += [read_found(file) for file in files_beside(workspace.bag(verified.reference))]
    signatures = [_judge(one, (image, *made, dataset), keys) for one in found]
    evidence += [one.evidence(workspace) for one in signatures]
    return evidence, (_summary("image", signatures), _summary("provenance", signatures))


class _Signature(NamedTuple):
    """A signature that was found, and what is known of it."""

    found: Found
    what: str  # that it claims to sign; empty if this record has no such thing
    key: str  # that made it; empty if unknown

    def evidence(self, workspace: Workspace) -> Evidence:
        said = f"of the {self.what}: {f'verified, by {self.key}' if self.key else NOT_VERIFIED}"
        return Evidence(
            kind="signature",
            file=_place(workspace, self.found.where),
            sha256=_sha256(None if self.found.problem else self.found.content),
            said=said if self.what else "of nothing that is in this record, or not readable",
        )


def _judge(found: Found, subjects: Sequence[Subject], keys: Sequence[PublicKey]) -> _Signature:
    """Return what a signature claims to cover, and which of the keys made it."""
    try:
        statement = None if found.problem else Bundle.parse(found.content, found.where).read_statement(found.where)
    except DatapackError:
        statement = None
    subject = next((one for one in subjects if statement and not read_fault(one, statement)), None)
    if subject is None:
        return _Signature(found, "", "")
    valid = find_valid([found], subject, keys)
    return _Signature(found, subject.what, str(valid.key) if valid else "")


def _summary(what: Literal["image", "provenance"], signatures: Sequence[_Signature]) -> Signed:
    of_it = [one for one in signatures if one.what == what]
    by = tuple(dict.fromkeys(one.key for one in of_it if one.key))
    return Signed(what=what, state="verified" if by else NOT_VERIFIED if of_it else "none found", keys=by)


def _provenance(
    workspace: Workspace, path: Path | None, place: Place, verified: Verified
) -> tuple[list[Evidence], list[ProvenanceSubject]]:
    """Return the provenance as evidence, and as something that may be signed if it is of this image."""
    file = path.with_name(f"{path.name}.provenance.json") if path else None
    where = _shown(workspace, file) if file else f"attached to {verified.image}"
    try:
        found = place.provenance()
    except SignatureError:
        content = read_limited(file, _LIMIT, DatapackError) if file and file.exists() else None
        said = "not a statement of this image: build it again"
        return [Evidence(kind="provenance", file=where, sha256=_sha256(content), said=said)], []
    said = "in-toto statement of this image"
    made = [Evidence(kind="provenance", file=where, sha256=_sha256(one.content), said=said) for one in found]
    return made, found


def sboms_of(workspace: Workspace, path: Path | None, place: Place, image: str) -> Iterator[Evidence]:
    """Yield the SBOM that `datapack build` wrote beside an image, or those that are attached to it.

    Args:
        workspace: where the version is.
        path: the layout or archive; None for an image in a registry.
        place: where an image in a registry is.
        image: the image's digest.
    """
    if path:
        file = path.with_name(f"{path.name}.cdx.json")
        if file.is_file():
            yield sbom_of(workspace, file, place, image)
    elif isinstance(place, InRegistry):
        with boundary(place.image.repository.name):
            contents = [read_part(place.image, layer, SBOM_LIMIT) for layer in find_layers(place.image, CYCLONEDX)]
        for content in dict.fromkeys(contents):
            yield _sbom(content, f"attached to {image}", place, image)


def sbom_of(workspace: Workspace, path: Path, place: Place, image: str) -> Evidence:
    """Return an SBOM as evidence.

    Raises:
        DatapackError: the file is none.
        MismatchError: it names the image, but is not the one that the image's provenance names.
    """
    return _sbom(read_limited(path, SBOM_LIMIT, DatapackError), _shown(workspace, path), place, image)


def _sbom(content: bytes, where: str, place: Place, image: str) -> Evidence:
    try:
        document = parse_json(content, where, DatapackError, limit=None)
        form = document.get("bomFormat") or document.get("spdxVersion")
        number = len(document.get("components") or document.get("packages") or ())
        named = _images_in(document)
    except (ValueError, AttributeError, TypeError, KeyError, DatapackError):
        form, number, named = None, 0, set()
    if not isinstance(form, str):
        raise DatapackError("not an SBOM", where=where, expected="CycloneDX or SPDX as JSON")
    says = "not compared with the image"
    if image in named:
        both = check_sboms(image, place.statements(), [FoundSbom(where, digest_of(content))])
        says = "it names this image, and the provenance names it" if both else "it names this image"
    elif named:
        says = "it names ANOTHER image: build this one again"
    said = f"{form}, {number} components; {says}"
    return Evidence(kind="sbom", file=where, sha256=_sha256(content), said=said)


def _images_in(document: dict[str, Any]) -> set[str]:
    """Return the digest of the image that an SBOM is of, as `datapack build` writes it; none if it has another form."""
    component = (document.get("metadata") or {}).get("component") or {}
    if component.get("bom-ref") != "image":
        return set()
    return {f"sha256:{one['content']}" for one in component.get("hashes") or () if one["alg"] == "SHA-256"}


def rehearsals_of(workspace: Workspace, reference: Reference, digest: str) -> Iterator[Rehearsal]:
    """Yield the last rehearsals of a dataset digest that ended well, the newest first."""
    number = 0
    for folder in sorted(workspace.rehearsals(reference).glob("*"), reverse=True):
        for path in folder.glob(f"*/{reference.name}/{reference.version}.import.txt"):
            lines = (
                read_limited(path, _RECEIPT_LIMIT, DatapackError, follow=False).decode(errors="replace").splitlines()
            )
            if lines and lines[-1] == f"IMPORT OK {reference} {digest}" and number < _MOST_REHEARSALS:
                number += 1
                yield Rehearsal(receipt=lines[-1], file=_shown(workspace, path))


def _shown(workspace: Workspace, path: Path) -> str:
    return str(path.relative_to(workspace.root)) if path.is_relative_to(workspace.root) else path.name


def _place(workspace: Workspace, where: str) -> str:
    """Return where a signature is, without the folders of this machine."""
    return _shown(workspace, Path(where)) if where.startswith("/") else where


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
