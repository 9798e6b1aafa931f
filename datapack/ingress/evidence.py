"""What lies beside an image: its provenance, signatures and SBOM, and the receipts of rehearsals."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from datapack.errors import DatapackError
from datapack.files import disk_errors, read_limited
from datapack.hashing import hash_file
from datapack.ingress.record import Evidence, Rehearsal
from datapack.metadata.provenance import STATEMENT
from datapack.signing.files import files_beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.reference import Reference
    from datapack.workspace.folder import Workspace

_LIMIT = 16 << 20  # bytes of a statement
_SBOM_LIMIT = 256 << 20  # bytes
_RECEIPT_LIMIT = 1 << 20  # bytes
_MOST_REHEARSALS = 3  # the last ones


def evidence_of(workspace: Workspace, reference: Reference, image: Path | None, digest: str) -> Iterator[Evidence]:
    """Yield the files that belong to a version and its image.

    Args:
        workspace: where the version is.
        reference: the version.
        image: the layout or archive; None for an image in a registry.
        digest: the image's digest.
    """
    if image is not None:
        path = image.with_name(f"{image.name}.provenance.json")
        if path.is_file():
            yield _provenance(workspace, path, digest)
    signed = [workspace.bag(reference), *([image] if image else [])]
    for path in (file for each in signed for file in files_beside(each)):
        said = "not checked here: 'datapack verify --key' does it"
        yield Evidence(kind="signature", file=_shown(workspace, path), sha256=_sha256(path), said=said)


def sbom_of(workspace: Workspace, path: Path) -> Evidence:
    """Return an SBOM as evidence; raise `DatapackError` if the file is none."""
    content = read_limited(path, _SBOM_LIMIT, DatapackError)
    try:
        document = json.loads(content)
        form = document.get("bomFormat") or document.get("spdxVersion")
        number = len(document.get("components") or document.get("packages") or ())
    except (ValueError, AttributeError, TypeError, RecursionError):
        form, number = None, 0
    if not isinstance(form, str):
        raise DatapackError("not an SBOM", where=path, expected="CycloneDX or SPDX as JSON")
    said = f"{form}, {number} components; not compared with the image"
    return Evidence(kind="sbom", file=_shown(workspace, path), sha256=hashlib.sha256(content).hexdigest(), said=said)


def _provenance(workspace: Workspace, path: Path, digest: str) -> Evidence:
    content = read_limited(path, _LIMIT, DatapackError)
    try:
        statement = json.loads(content)
        subjects = [f"sha256:{one['digest']['sha256']}" for one in statement["subject"]]
        kind = statement["_type"]
    except (ValueError, LookupError, TypeError, RecursionError):
        subjects, kind = [], None
    is_of_it = kind == STATEMENT and digest in subjects
    said = "in-toto statement of this image" if is_of_it else "not a statement of this image: build it again"
    return Evidence(
        kind="provenance", file=_shown(workspace, path), sha256=hashlib.sha256(content).hexdigest(), said=said
    )


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


def _sha256(path: Path) -> str:
    with disk_errors(path, DatapackError):
        return hash_file(path)
