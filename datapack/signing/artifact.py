"""A signature as something that is attached to an image, as cosign 3 attaches its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.oci.blob import Blob
from datapack.oci.spec import Descriptor
from datapack.registry.referrers import Artifact
from datapack.signing.bundle import BUNDLE

if TYPE_CHECKING:
    from datapack.signing.bundle import Bundle

_CONTENT, _PREDICATE_TYPE = "dev.sigstore.bundle.content", "dev.sigstore.bundle.predicateType"


def signature(bundle: Bundle, predicate_type: str) -> Artifact:
    """Return a signature as something to attach. It names no time: the same signature is attached only once."""
    annotations = {_CONTENT: "dsse-envelope", _PREDICATE_TYPE: predicate_type}
    layer = Descriptor.of(BUNDLE, bundle.content).to_json()
    return Artifact("signature", BUNDLE, (layer,), (Blob.of(BUNDLE, bundle.content),), annotations)
