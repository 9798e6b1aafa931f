"""Find the images of a COCO file among the files of a dataset; where they can't be found, say what to write instead."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import unquote

from datapack.bag.manifest import PAYLOAD
from trainers.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_SEPARATOR = re.compile(r"[/\\]")
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of an uploaded file


def find_images(file_names: Sequence[str], folder: str, known: Collection[str], where: object) -> tuple[str, ...]:
    """Return the name in the manifest of each image.

    Args:
        file_names: of a COCO file. All of them are relative to ``folder`` or, if they are not found there, all of them
            to the payload.
        folder: of the images, relative to the payload.
        known: names in the manifest, and of files that the dataset lists as missing.
        where: the COCO file, for the error.

    Raises:
        TrainingError: an image is not in the dataset; the error names a file that was probably meant.
    """
    pairs = [places(name, folder) for name in file_names]
    for names in (tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)):
        if all(name in known for name in names):
            return names
    absent = [at for at, pair in enumerate(pairs) if pair[0] not in known]
    raise TrainingError(
        f"{len(absent):,} of {len(file_names):,} images are not in the dataset",
        where=where,
        found=f"no {pairs[absent[0]][0]!r}",
        fix=_advice(file_names[absent[0]], folder, known),
    )


def places(file_name: str, folder: str) -> tuple[str, str]:
    """Return the names in the manifest that an image may have: relative to ``folder``, and to the payload."""
    in_payload = f"{PAYLOAD}/{file_name}"
    return (in_payload if folder == "." else f"{PAYLOAD}/{folder}/{file_name}"), in_payload


def _advice(name: str, folder: str, known: Collection[str]) -> str:
    """Say what to write: another folder, or another file_name."""
    similar = _similar(name, known)
    if not similar:
        return "set data.images (or data.eval_images) to the folder of the images"
    path = min(similar, key=lambda other: (not other.startswith(f"{folder}/"), other))
    if path.endswith(f"/{name}"):
        return f"{path!r} is there: set data.images (or data.eval_images) to {path.removesuffix(f'/{name}')!r}"
    better = path.removeprefix(f"{folder}/")
    return f"{path!r} is there: write {better!r} as the file_name{_reason(name, better)}"


def _similar(name: str, known: Collection[str]) -> list[str]:
    """Return the files, relative to the payload, whose names differ only in what programs change."""
    by_name = defaultdict(list)
    for path in known:
        by_name[_bare(path)].append(path.removeprefix(f"{PAYLOAD}/"))
    return by_name[_bare(name)]


def _bare(path: str) -> str:
    """Return the last part of a path without what programs add or change."""
    last = unquote(_SEPARATOR.split(path)[-1])
    return unicodedata.normalize("NFC", _UPLOADED.sub("", last)).casefold()


def _reason(name: str, better: str) -> str:
    if "\\" in name:
        return ", with / between folders"
    last = name.rpartition("/")[2]
    if _UPLOADED.match(last) and not _UPLOADED.match(better.rpartition("/")[2]):
        return f", without Label Studio's prefix {last[:9]}"
    return ""
