"""Find hashes that differ in few bits, among hundreds of thousands, without comparing all pairs.

Of two hashes that differ in at most D bits, at least one of D + 1 equal parts is the same. So only hashes with a common
part are compared: those are neighbours once the hashes are sorted by it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Places = NDArray[np.int64]
    Hashes = NDArray[np.uint64]

_BITS = 64
_MOST_ALIKE = (
    300  # hashes with a common part that each is compared with: of thousands of images of one scene, the nearest
)


def near_pairs(hashes: Hashes, distance: int) -> Iterator[tuple[Places, Places]]:
    """Yield arrays of pairs of places whose hashes differ in at most ``distance`` bits; some pairs come repeatedly."""
    bounds = [_BITS * number // (distance + 1) for number in range(distance + 2)]
    for low, high in pairwise(bounds):
        part = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.lexsort((hashes, part)).astype(np.int64)
        yield from _near_in_order(hashes[order], part[order], order, distance)


def _near_in_order(hashes: Hashes, part: Hashes, order: Places, distance: int) -> Iterator[tuple[Places, Places]]:
    """Compare each hash with those that follow it and have the same part: first the next ones, then those after."""
    alive = np.arange(len(hashes), dtype=np.int64)
    most = _MOST_ALIKE + (
        len(hashes) >> (_BITS // (distance + 1) - 1)
    )  # twice as many as have a part in common by chance
    for step in range(1, most + 1):
        alive = alive[: np.searchsorted(alive, len(hashes) - step)]
        alive = alive[part[alive] == part[alive + step]]
        if not len(alive):
            return
        near = alive[bits_set(hashes[alive] ^ hashes[alive + step]) <= distance]
        if len(near):
            yield order[near], order[near + step]


def bits_set(values: Hashes) -> NDArray[np.uint64]:
    """Count the bits that are 1 in each value, by adding neighbours; numpy before 2.0 has no function for it."""
    one, two, four = (np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))
    values = values - ((values >> np.uint64(1)) & one)
    values = (values & two) + ((values >> np.uint64(2)) & two)
    values = (values + (values >> np.uint64(4))) & four
    return (values * np.uint64(0x0101010101010101)) >> np.uint64(56)
