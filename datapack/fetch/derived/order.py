"""The order in which images are chosen: chance, but the same on every machine, and none of a rare kind is forgotten."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def chance(names: Iterable[str], seed: int) -> list[str]:
    """Sort names by the sha256 of the seed and the name: more names leave the order of the others as it is."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def in_order(images: Collection[str], kinds: Mapping[str, Collection[str]], seed: int) -> list[str]:
    """Return all images in the order in which they are chosen.

    For each kind, from the rarest on, an image comes first unless one of its images did already; chance decides which,
    and the order of all others. So a larger number of images contains a smaller one.

    Args:
        images: their paths.
        kinds: the images of each category, and of each list.
        seed: another seed gives another order.
    """
    every = chance(images, seed)
    place = {image: number for number, image in enumerate(every)}
    first: dict[str, None] = {}
    for name in sorted(kinds, key=lambda name: (len(kinds[name]), name)):
        if kinds[name] and first.keys().isdisjoint(kinds[name]):
            first[min(kinds[name], key=place.__getitem__)] = None
    return [*first, *(image for image in every if image not in first)]
