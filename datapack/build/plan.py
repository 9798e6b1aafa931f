"""The plan: which files of a version go into which layer. Nothing here reads a file or knows where it is.

A version that has a parent keeps as many of the parent's layers as it can, so that a small change is a small push and a
small pull. The plan is a pure function: the same files and the same parent give the same layers on every machine.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from datapack.bag.bagit import PayloadFile
from datapack.errors import ImageError
from datapack.progress import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


LAYER_BYTES = 512 << 20  # small enough to be pushed again after a broken upload, large enough that few are needed
MAX_DATA_LAYERS = 100  # Docker and overlay stop at about 127, including the base's
NEW_LAYERS = 50  # at most, in a version packed from scratch: the others are reserved for later versions
LAYER_LIMIT = 10 * 1000**3  # bytes: GHCR accepts no larger layer
_HEADERS = 4096  # bytes: an upper bound for a file's headers, its padding and a new folder's header in the archive
Group = list[PayloadFile]  # the files of one layer, sorted by their paths' bytes


def plan(files: Iterable[PayloadFile], parent: Iterable[Iterable[tuple[str, str]]] = ()) -> list[Group]:
    """Divide a version's files into layers.

    A parent's layer is kept if and only if all of its files are in the version unchanged. Kept layers come first, in
    the parent's order. All other files follow in new layers: first those inside folders of the payload, then those
    at its top level, each sorted, and no new layer has both. If that needs more images than packing from scratch,
    everything is packed from scratch. So a version that fits into one image when packed from scratch never has more
    than `MAX_DATA_LAYERS` layers.

    Args:
        files: the version's files, in any order.
        parent: the parent's layers, lowest first: the path and the sha256 of each file.
    """
    ordered = sorted(files, key=itemgetter(0))  # code points sort as their UTF-8 bytes do
    limit = _layer_bytes(ordered)
    others = {file.path: file for file in ordered}
    kept = list(_take_kept(others, parent))
    groups = [*kept, *_pack(others.values(), limit)]
    if len(groups) > MAX_DATA_LAYERS and kept:
        repacked = list(_pack(ordered, limit))
        if len(images(repacked)) < len(images(groups)):
            return repacked
    return groups


def _take_kept(files: dict[str, PayloadFile], parent: Iterable[Iterable[tuple[str, str]]]) -> Iterator[Group]:
    """Yield the parent's layers that are still whole, and remove their files from ``files``."""
    for layer in parent:
        lines = list(layer)
        group = [file for path, sha256 in lines if (file := files.get(path)) and file.sha256 == sha256]
        if group and len(group) == len(lines):
            for file in group:
                del files[file.path]
            yield group


def _layer_bytes(files: Sequence[PayloadFile]) -> int:
    """Return how many bytes a new layer may hold: more than `LAYER_BYTES` if that would give too many layers."""
    if sum(1 for _ in _pack(files, LAYER_BYTES)) <= NEW_LAYERS:
        return LAYER_BYTES
    # With this limit, every layer holds more than a 49th of all bytes, except the last one inside folders and the last
    # one at the top level. So there are at most 48 and these two, unless `LAYER_LIMIT` requires more.
    return sum(file.size for file in files) // (NEW_LAYERS - 1) + max(file.size for file in files)


def _pack(files: Iterable[PayloadFile], limit: int) -> Iterator[Group]:
    """Put sorted files into new layers: first those inside folders, then those at the top level in separate layers.

    Files at the top level are usually labels for the files in the folders, and they change more often. So a corrected
    label is a small push.
    """
    inside: Group = []
    top: Group = []
    for file in files:
        (inside if file.path.count("/") > 1 else top).append(file)  # the first slash is that of data/
    yield from _fill(inside, limit)
    yield from _fill(top, limit)


def _fill(files: Iterable[PayloadFile], limit: int) -> Iterator[Group]:
    group: Group = []
    content = archive = 0
    for file in files:
        if group and (content + file.size > limit or archive + file.size + _HEADERS > LAYER_LIMIT):
            yield group
            group, content, archive = [], 0, 0
        group.append(file)
        content += file.size
        archive += file.size + _HEADERS
    if group:
        yield group


def images(groups: Sequence[Group]) -> list[Sequence[Group]]:
    """Divide layers into as many images as they need, in order."""
    return [groups[start : start + MAX_DATA_LAYERS] for start in range(0, len(groups), MAX_DATA_LAYERS)]


def check_one_image(groups: Sequence[Group], where: object) -> None:
    """Raise `ImageError` if one image can't hold the layers: there are too many, or a file is too large for a layer."""
    largest = max((file for group in groups for file in group), key=itemgetter(1))
    if largest.size + _HEADERS > LAYER_LIMIT:
        raise ImageError(
            f"{largest.path} is too large for a layer",
            where=where,
            expected=f"at most {size(LAYER_LIMIT)}",
            found=size(largest.size),
            fix="split it into several files",
        )
    needed = len(images(groups))
    if needed > 1:
        raise ImageError(
            f"the version needs {needed} images",
            where=where,
            expected=f"at most {MAX_DATA_LAYERS} layers of {size(LAYER_LIMIT)} in one image",
            found=f"{len(groups):,} layers",
            fix=f"split it into {needed} versions in the catalog",
        )
