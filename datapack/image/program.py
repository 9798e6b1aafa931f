"""The known import programs: which datapack wrote the layer that marks where the base of an image ends."""

from __future__ import annotations

from functools import cache

from datapack.hashing import digest_of
from datapack.image.layers import program_layer

#: The layers of earlier programs, by digest, and which datapack wrote them. When the program changes, add the old one.
EARLIER = {
    "sha256:c4a5f284477b41b04dff72c761b4621d846d50293be2093c9eb54b354d99037b": "0.1.0 before December 2026",
    "sha256:dbe441c399bfb80f6b0c01cbdfbe73d052b3c8a4405d2db541ae2025d23643ab": "0.1.0",
}


@cache
def program_digest() -> str:
    """Return the digest of the layer with the program of this release."""
    return digest_of(b"".join(map(bytes, program_layer().blocks())))
