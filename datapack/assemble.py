"""Assemble: bring the base's layers and a version's own to a target, several at once, and read no more than needed."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from datapack.hashcache import KnownFile
from datapack.layers import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from datapack.bag import Bag
    from datapack.base import Base
    from datapack.hashcache import HashCache
    from datapack.layers import Blocks, Layer
    from datapack.manifest import FileStat
    from datapack.oci import Descriptor
    from datapack.reference import Reference
    from datapack.report import Reporter
    from datapack.targets import Target


class Known:
    """Which layers need not be read: those whose files are all as they were when they were hashed last.

    ``locked`` are the digests of all of the image's layers, the base's too, as the lock has them from an earlier build.
    """

    def __init__(self, bag: Bag, reference: Reference, cache: HashCache, locked: Sequence[str], verify: bool) -> None:
        self._bag, self._reference, self._cache = bag, reference, cache
        self._locked = locked
        self._files = {} if verify else cache.files(reference)

    def digest(self, layer: Layer) -> str:
        """Return a layer's digest if it is known without reading its files, or nothing."""
        return (self._cache.layer(layer.key) or "") if all(map(self._is_known, layer.sources)) else ""

    def _is_known(self, source: Path) -> bool:
        path = str(source.relative_to(self._bag.path))
        return self._files.get(path) == KnownFile(self._bag.listing.files[path], self._bag.manifest.hashes[path])

    def expected(self, below: int, layers: int) -> Sequence[str]:
        """Return the digests that our layers had when there were as many, on as many below; else empty ones."""
        return self._locked[below:] if len(self._locked) == below + layers else [""] * layers

    def found(self, source: Path, stat: FileStat, sha256: str) -> None:
        """Remember a file that was read and is right."""
        self._cache.record(self._reference, str(source.relative_to(self._bag.path)), stat, sha256)

    def written(self, layer: Layer, digest: str) -> None:
        """Remember the digest of a layer that was written."""
        self._cache.record_layer(layer.key, digest)


class _Stopped(Exception):  # noqa: N818 - no error of its own: another layer's is the one that counts
    """Nobody wants the layer any more."""


class _Share:
    """One layer's share of the progress: what a target asks for again, or has already, counts once."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._done = advance, 0

    def add(self, count: int) -> None:
        self.set(self._done + count)

    def set(self, done: int) -> None:
        self._advance(done - self._done)
        self._done = done


def assemble(base: Base, layers: Sequence[Layer], target: Target, known: Known, reporter: Reporter) -> list[Descriptor]:
    """Bring the base's layers and ours to the target; return the descriptors of ours.

    Args:
        base: what stands below.
        layers: ours, lowest first.
        target: where they go.
        known: what need not be read.
        reporter: told how far it is.

    Raises:
        MismatchError: a file of the bag is not what its manifest says.
        DatapackError: the target can't take a layer.
    """
    stopped = threading.Event()
    expected = known.expected(len(base.layers), len(layers))
    with reporter.progress(target.doing, sum(layer.size for layer in layers), "B") as advance:

        def add(layer: Layer, expected: str) -> Descriptor:
            share, digest = _Share(advance), known.digest(layer)
            trusted = bool(digest) and target.checks

            def count(done: int) -> None:
                if stopped.is_set():
                    raise _Stopped
                share.add(done)

            def blocks() -> Blocks:
                nonlocal trusted
                share.set(0)
                if trusted:
                    trusted = False  # if it is asked for again, something was wrong: find out what
                    return (yield from layer.unchecked_blocks(digest, advance=count))
                found = yield from layer.blocks(advance=count, found=known.found)
                known.written(layer, found)
                return found

            added = target.add(Part(layer.media_type, layer.size, digest, blocks, expected, stopped))
            share.set(layer.size)
            return added

        steps = [partial(target.add, replace(part, stopped=stopped)) for part in base.parts()]
        steps += [partial(add, layer, digest) for layer, digest in zip(layers, expected, strict=True)]
        return _all(steps, target.streams, stopped)[-len(layers) :]


def _all(steps: Sequence[Callable[[], Descriptor]], streams: int, stopped: threading.Event) -> list[Descriptor]:
    """Take steps in their order, so many at once; after the first failure no other is begun, and those begun end."""
    with ThreadPoolExecutor(streams) as pool:
        begun = [pool.submit(step) for step in steps]
        try:
            for future in wait(begun, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in begun]
