"""Sign a bag or an image that was just verified, every byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.errors import SignatureError, UsageError
from datapack.registry import ImageName, RegistryClient, Repository
from datapack.signing.bundle import LIMIT, Bundle
from datapack.signing.check import find_valid
from datapack.signing.files import provenance_file, read_found, write_bundle
from datapack.signing.provenance import ProvenanceSubject
from datapack.text import size
from datapack.verify import verify
from datapack.verify.signatures import check_image_sboms, locate

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.progress import Reporter
    from datapack.signing.keys import PrivateKey, PublicKey
    from datapack.signing.subject import Subject
    from datapack.verify.outcome import Verified
    from datapack.verify.signatures import Place
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Signed:
    """A signature that was made, or was there already."""

    verified: Verified
    subject: Subject
    key: PublicKey
    where: str
    is_new: bool
    provenance: str = ""  # where the signature of the image's provenance is, if it has any


def sign(
    text: str,
    folder: Path,
    workspace: Workspace | None,
    key: PrivateKey,
    reporter: Reporter,
    *,
    output: Path | None = None,
    insecure: bool = False,
) -> Signed:
    """Verify what ``text`` names, as `verify` does, and sign it; of an image, its provenance too, if there is one.

    Args:
        text: a version, a bag's folder, or an image on disk or in a registry.
        folder: where relative paths start.
        workspace: where a version's bag is; None outside any.
        key: signs.
        reporter: receives the progress.
        output: where to write the signature; without it, it goes beside a bag, a layout or an archive, and is attached
            to an image in a registry.
        insecure: accept a registry without TLS, or with an untrusted certificate.

    Raises:
        MismatchError: it is not what its manifest says, or its SBOM not what its provenance says: nothing is signed.
        SignatureError: the provenance of an image is of something else, or there are several.
        UsageError: another signature is where this one should go.
        ImageError: a registry refuses it.
    """
    if output is not None and not output.parent.is_dir():
        raise UsageError("no such folder", where=output.parent, fix="make it, or name another file with --output")
    push = text.startswith("docker://") and output is None
    if push:  # before everything is read
        name = ImageName.parse(text.removeprefix("docker://"))
        Repository(RegistryClient(name, actions="pull,push", insecure=insecure)).check_access()
    verified = verify(text, folder, workspace, "full", reporter, insecure=insecure)
    subject, place = locate(text, folder, workspace, verified, insecure=insecure, push=push)
    provenance = _one_provenance(place, text)  # before anything is signed
    check_image_sboms(place, subject.digest)
    signer = _Signer(place, key, text, output)
    where, is_new = signer.sign(subject)
    made, made_now = signer.sign(provenance) if provenance else ("", False)
    return Signed(verified, subject, key.public, where, is_new or made_now, made)


def _one_provenance(place: Place, text: str) -> ProvenanceSubject | None:
    """Return an image's provenance. Of several that anyone may have attached, the signer has to choose."""
    found = place.provenance()
    if len(found) > 1:
        fix = "remove those that are not yours"
        raise SignatureError("the image has several statements of provenance", where=text, found=len(found), fix=fix)
    return found[0] if found else None


@dataclass(frozen=True)
class _Signer:
    """Signs what belongs to one image or bag, and stores the signatures."""

    place: Place
    key: PrivateKey
    text: str
    output: Path | None

    def sign(self, subject: Subject) -> tuple[str, bool]:
        """Return where a signature of a subject is, and whether it is new."""
        public, output = self.key.public, self.output
        if output is not None and isinstance(subject, ProvenanceSubject):
            output = provenance_file(output)
        found = self.place.find() if output is None else [read_found(output)] if output.is_file() else []
        valid = find_valid(found, subject, [public])
        if valid is not None:
            return valid.where, False
        bundle = _sign(subject, self.key, self.text)
        if output is None:
            return self.place.store(bundle, subject, public), True
        write_bundle(output, bundle, public)
        return str(output), True


def _sign(subject: Subject, key: PrivateKey, text: str) -> Bundle:
    """Sign a subject; raise `SignatureError` if it has too many files for a statement that others can read."""
    bundle = Bundle.sign(subject.statement(), key, subject.hint(key.public))
    if len(bundle.content) > LIMIT:
        expected, found = f"at most {size(LIMIT)}", size(len(bundle.content))
        fix = "sign its image instead, by its digest"
        raise SignatureError("too many files for a signature", where=text, expected=expected, found=found, fix=fix)
    return bundle
