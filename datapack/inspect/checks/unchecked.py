"""Labels that are here and that no check reads: nobody should take them for checked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from datapack.inspect.findings import Finding, Rule, few
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.inspect.model import Survey

UNCHECKED = Rule(
    "DP326",
    "note",
    "labels that datapack does not check",
    "datapack checks only boxes in COCO files, so mistakes in these labels stay hidden. The trainers don't read them.",
    "Convert boxes to a COCO file, or check them with the program that uses them.",
)
_BESIDE_IMAGES = {  # files that have the name of an image
    ".txt": "text files with names of images, such as those of YOLO",
    ".xml": "XML files with names of images, such as those of Pascal VOC",
    ".json": "JSON files with names of images, such as those of LabelMe",
}
_BY_ENDING = {
    ".json.gz": "compressed JSON files",
    ".jsonl": "files of JSON lines",
    ".ndjson": "files of JSON lines",
}


def check_unchecked(survey: Survey) -> Iterator[Finding]:
    """Look for what may be labels in other forms than the boxes of COCO files."""
    stems = {_stem(image.path) for image in survey.images}
    lists = {coco.path for coco in survey.cocos}
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for path in survey.files if stems else ():
        if path not in lists and (kind := _kind(path, stems)):
            counts[kind] += 1
            first.setdefault(kind, path)
    lines = [f"{kind}: {counts[kind]:,}, such as {first[kind]}" for kind in sorted(counts)]
    other = [coco for coco in survey.cocos if coco.unboxed]
    lines += [f"{coco.path}: {counted(coco.unboxed, 'row')} with captions or panoptic segments" for coco in other]
    if lines:
        yield Finding(UNCHECKED, counts.total() + len(other), few(lines))


def _kind(path: str, stems: set[str]) -> str:
    name = path.lower()
    for ending, kind in _BY_ENDING.items():
        if name.endswith(ending):
            return kind
    for ending, kind in _BESIDE_IMAGES.items():
        if name.endswith(ending):
            return kind if _stem(path) in stems else ""
    return ""


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


RULES = (UNCHECKED,)
CHECKS = (check_unchecked,)
