"""A signature as something that is attached to an image, as cosign 3 attaches its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.errors import SignatureError
from datapack.files import read_limited
from datapack.oci.blob import Blob
from datapack.registry.referrers import Artifact
from datapack.signing.bundle import BUNDLE, LIMIT, Bundle
from datapack.signing.subject import read_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from datapack.progress import Reporter
    from datapack.signing.subject import Subject

_CONTENT, _PREDICATE_TYPE = "dev.sigstore.bundle.content", "dev.sigstore.bundle.predicateType"


def signature(bundle: Bundle, subject: Subject) -> Artifact:
    """Return a signature as something to attach. It names no time: the same signature is attached only once."""
    annotations = {_CONTENT: "dsse-envelope", _PREDICATE_TYPE: subject.predicate_type}
    name, blob = f"signature of the {subject.what}", Blob.of(BUNDLE, bundle.content)
    return Artifact(name, BUNDLE, (blob.descriptor(blob.digest).to_json(),), (blob,), annotations)


def kept_signatures(files: Iterable[Path], subjects: Sequence[Subject], reporter: Reporter) -> Iterator[Artifact]:
    """Yield the signatures in these files that are of one of the subjects, as something to attach.

    Whose they are is not checked: that is for those who have the keys that they trust.
    """
    for file in files:
        try:
            yield _read_signature(file, subjects)
        except SignatureError as error:
            reporter.note(f"a signature that is kept here is not attached: {error}")


def _read_signature(file: Path, subjects: Sequence[Subject]) -> Artifact:
    bundle = Bundle.parse(read_limited(file, LIMIT, SignatureError), file)
    statement = bundle.read_statement(file)
    for subject in subjects:
        if not read_fault(subject, statement):
            return signature(bundle, subject)
    raise SignatureError("it is of something else", where=file, expected=" or ".join(map(_name, subjects)))


def _name(subject: Subject) -> str:
    return f"the {subject.what} {subject.digest}"
