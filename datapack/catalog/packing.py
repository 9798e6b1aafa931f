"""The packing: a short form of a plan that the lock keeps, so that the same layers can be made without the parent.

For each file in the order of the manifest, it gives the number of its data layer, from 0, with equal numbers in a row
counted: ``0*512 2*1 0*33``.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from datapack.errors import CatalogError
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.bag.bagit import PayloadFile


_RUN = r"(0|[1-9][0-9]{0,17})\*[1-9][0-9]{0,17}"  # 64 bits
FORM = rf"^{_RUN}( {_RUN})*$"
File = TypeVar("File")


def encode(groups: Sequence[Sequence[PayloadFile]]) -> str:
    """Return a plan's layers as a packing."""
    placed = sorted((file.path, number) for number, group in enumerate(groups) for file in group)
    runs = groupby(placed, key=itemgetter(1))
    return " ".join(f"{number}*{sum(1 for _ in run)}" for number, run in runs)


def count_layers(packing: str) -> int:
    """Return how many layers a packing has."""
    return 1 + max(int(part.partition("*")[0]) for part in packing.split())


def decode(packing: str, files: Sequence[File], where: object) -> list[list[File]]:
    """Distribute a manifest's files, in its order, over the layers of a packing.

    Raises:
        CatalogError: the packing does not fit these files; it names ``where``.
    """
    if not re.fullmatch(FORM, packing):
        raise _wrong(where, "LAYER*FILES LAYER*FILES ...", f"{packing[:60]!r}")
    runs = [(int(number), int(count)) for number, _, count in (run.partition("*") for run in packing.split(" "))]
    total, used = sum(count for _, count in runs), {number for number, _ in runs}
    if total != len(files):
        raise _wrong(where, f"{counted(len(files), 'file')}, as in the manifest", f"{total:,}")
    if used != set(range(len(used))):
        raise _wrong(where, f"layers from 0 to {len(used) - 1}", f"layer {max(used)}")
    layers: list[list[File]] = [[] for _ in used]
    start = 0
    for number, count in runs:
        layers[number] += files[start : start + count]
        start += count
    return layers


def _wrong(where: object, expected: str, found: str) -> CatalogError:
    fix = "restore datasets.lock from git, or plan new layers with --update-lock"
    return CatalogError("the packing does not fit the files", where=where, expected=expected, found=found, fix=fix)
