"""The writer: writes the base's layers and the version's to a target, in parallel, and reads only what it must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.executor import run_all
from datapack.image.layers import LayerContent
from datapack.oci.blob import Blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.bag.bagit import Bag
    from datapack.executor import Advance
    from datapack.files import FileStat
    from datapack.image.base import Base
    from datapack.image.layers import Layer
    from datapack.oci.spec import Descriptor
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.targets import Target
    from datapack.workspace.cache import HashCache


class LayerCache:
    """Digests of layers that need not be read: none of their files changed since they were last hashed."""

    def __init__(self, bag: Bag, reference: Reference, cache: HashCache, *, verify: bool) -> None:
        self._reference, self._cache = reference, cache
        self._start = len(f"{bag.path}/")
        hashes = bag.manifest.hashes
        self._unknown = set(hashes) if verify else cache.unknown(reference, hashes, bag.listing.files)

    def digest(self, layer: Layer) -> str:
        """Return a layer's digest if it is known without reading its files, else an empty string."""
        if self._unknown and any(self._path(source) in self._unknown for source in layer.sources):
            return ""
        return self._cache.layer(layer.key) or ""

    def _path(self, source: str) -> str:
        """Return the path below the bag of a file on disk."""
        return source[self._start :]

    def found(self, source: str, stat: FileStat, sha256: str) -> None:
        """Remember a file that was read and matches the manifest."""
        self._cache.record(self._reference, self._path(source), stat, sha256)

    def written(self, layer: Layer, digest: str) -> None:
        """Remember the digest of a layer that was written."""
        self._cache.record_layer(layer.key, digest)


class _LayerObserver:
    """Observes one layer: its progress, and the files in it that were read and match the manifest."""

    def __init__(self, advance: Advance, cache: LayerCache) -> None:
        self.advance, self.wait, self.found = advance, advance.wait, cache.found
        self._advance, self._starts = advance, 0

    def start(self) -> int:
        self._starts += 1
        self._advance.set(0)
        return self._starts


@dataclass(frozen=True)
class LayerWriter:
    """Writes layers to a target."""

    target: Target
    cache: LayerCache
    reporter: Reporter

    def write(self, base: Base, layers: Sequence[Layer], locked: Sequence[str] = ()) -> list[Descriptor]:
        """Write the base's layers and ours; return the descriptors of ours.

        Args:
            base: the base of the image.
            layers: ours, lowest first.
            locked: the digests of all layers of the image in the lock, including the base's.

        Raises:
            MismatchError: a file of the bag differs from its manifest.
            DatapackError: the target can't accept a layer.
        """
        below = len(base.layers)
        expected = locked[below:] if len(locked) == below + len(layers) else [""] * len(layers)
        ours = [self._blob(layer, digest) for layer, digest in zip(layers, expected, strict=True)]
        blobs = [*base.blobs(), *ours]
        with self.reporter.progress(self.target.doing, sum(blob.size for blob in blobs), "B") as advance:
            written = list(run_all(self._write, blobs, workers=self.target.streams, advance=advance))
        return written[below:]

    def _blob(self, layer: Layer, expected: str) -> Blob:
        digest = self.cache.digest(layer)
        trusted = digest if self.target.checks else ""
        return Blob(layer.media_type, layer.size, digest, LayerContent(layer, trusted), expected)

    def _write(self, blob: Blob, advance: Advance) -> Descriptor:
        descriptor = self.target.add(blob, _LayerObserver(advance, self.cache))
        advance.set(blob.size)
        if isinstance(blob.content, LayerContent):
            self.cache.written(blob.content.layer, descriptor.digest)
        return descriptor
