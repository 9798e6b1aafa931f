"""Checks of the rows of COCO files, of their images, and of their ids."""

from __future__ import annotations

from collections import Counter
from posixpath import basename
from typing import TYPE_CHECKING, TypeVar
from unicodedata import normalize
from urllib.parse import unquote

import numpy as np

from datapack.bag.names import folded
from datapack.inspect.findings import EXAMPLES, Finding, Rule, drop_lines, few, some
from datapack.inspect.locate import plain_name
from datapack.inspect.model import NO_ID
from datapack.inspect.suspects import is_leftover

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from datapack.inspect.model import Coco, ImageFile, Survey

Value = TypeVar("Value", int, str)

BROKEN = Rule(
    "DP300",
    "error",
    "COCO files that can't be read",
    "No program can use them.",
    "Export or fetch the file again.",
)
BAD_ROWS = Rule(
    "DP301",
    "error",
    "invalid rows in COCO files",
    "Programs fail at such a row or misread it. The other checks skip it.",
    "Correct the rows, or export the COCO file again.",
)
ABSENT = Rule(
    "DP302",
    "error",
    "listed images that are not in the dataset",
    "Training stops at the first one, or silently runs with less data.",
    "Add the images. If file_name points elsewhere, correct it, or set 'into' of the 'coco' source.",
)
MISSING = Rule(
    "DP303",
    "note",
    "listed images that are known to be missing",
    "The catalog allows it, and missing.csv lists them. Programs must skip their rows.",
    "Use a subset, which lists only images that are there, or look for another source.",
)
UNLISTED = Rule(
    "DP304",
    "note",
    "images that no COCO file lists",
    "They are imported, but nothing uses them.",
    "Leave them out, or add them to a COCO file.",
)
OTHER_SIZE = Rule(
    "DP305",
    "error",
    "images whose size differs from the COCO file",
    "The boxes were drawn on another version of the image, so they do not fit.",
    "Use the original images, or scale the boxes with the images.",
)
TURNED = Rule(
    "DP306",
    "warning",
    "images whose size in the COCO file is that of the rotated image",
    "The image is stored on its side, and its EXIF orientation rotates it. The boxes fit only in programs that "
    "treat the orientation as the annotation tool did.",
    "Store the images upright, without EXIF orientation. datapack's trainers decide by the sizes in the COCO file.",
)
LISTED_TWICE = Rule(
    "DP307",
    "error",
    "images listed more than once in a COCO file",
    "They count double in training. If only one of the rows has the boxes, the other says that the image is empty.",
    "Merge the rows, with all boxes.",
)
SAME_IDS = Rule(
    "DP308",
    "error",
    "duplicate ids",
    "Programs keep one row per id. They lose the others, or assign their boxes to the wrong image.",
    "Give each image, each annotation and each category its own id.",
)
ALONE = Rule(
    "DP319",
    "note",
    "images without boxes",
    "In training they count as background. That is useful if they are empty, and harmful if they were not labelled.",
    "Look at the examples. Leave out images that show unlabelled objects.",
)
NO_SIZE = Rule(
    "DP322",
    "warning",
    "images without a size in the COCO file",
    "Many programs need width and height there. Without them, nothing shows whether the boxes fit the image.",
    "Add width and height to the rows.",
)
COPIES = Rule(
    "DP323",
    "warning",
    "identical images in one COCO file",
    "Copies count double in training, and their labels may differ.",
    "Leave the copies out.",
)
NO_IMAGES = Rule(
    "DP324",
    "error",
    "COCO files without images",
    "There is nothing to train on.",
    "Export the COCO file again.",
)
NO_BOXES = Rule(
    "DP325",
    "warning",
    "COCO files whose annotations have no box",
    "Nothing was labelled, the labels were lost in the export, or no row can be used.",
    "Export the COCO file again, or remove the empty list if there are no labels.",
)


def check_files(survey: Survey) -> Iterator[Finding]:
    """Check that each COCO file can be read and has images and boxes."""
    broken = [coco for coco in survey.cocos if coco.problem]
    yield from some(BROKEN, [f"{coco.path}: {coco.problem}" for coco in broken], files=[coco.path for coco in broken])
    rows = [f"{coco.path}: {bad.place}: {bad.problem}" for coco in survey.cocos for bad in coco.bad_rows]
    if rows:
        yield Finding(BAD_ROWS, sum(coco.bad_count for coco in survey.cocos), few(rows))
    sound = [coco for coco in survey.cocos if not coco.problem]
    yield from some(NO_IMAGES, [coco.path for coco in sound if not len(coco)])
    empty = [coco for coco in sound if len(coco) and coco.has_boxes and not len(coco.boxes)]
    yield from some(NO_BOXES, [f"{coco.path}: {len(coco):,} images" for coco in empty])


def check_presence(survey: Survey) -> Iterator[Finding]:
    """Check that the images that are listed are there, and the other way round."""
    known = _endings(survey.missing)
    absent: list[tuple[str, str]] = []
    missing: list[tuple[str, str]] = []
    for coco in survey.cocos:
        for name, path in zip(coco.names, coco.images, strict=True):
            if not path:
                (missing if plain_name(name) in known else absent).append((coco.path, name))
    yield from some(ABSENT, _with_nearest(absent, survey))
    yield from some(MISSING, [f"{path}: {name}" for path, name in missing])
    listed = {path for coco in survey.cocos for path in coco.images}
    if any(listed):
        unlisted = [image.path for image in survey.images if image.path not in listed and not is_leftover(image.path)]
        yield from some(UNLISTED, unlisted, drop_lines(survey.reference, UNLISTED.code), unlisted)


def _with_nearest(absent: Sequence[tuple[str, str]], survey: Survey) -> Iterator[str]:
    """Describe images that are not there; of the first few, also which image has almost the same name."""
    alike = {_folded_end(image.path): image.path for image in reversed(survey.images)} if absent else {}
    for place, (path, name) in enumerate(absent):
        other = alike.get(_folded_end(plain_name(name))) if place < EXAMPLES else None
        differs = f"; there is {other}" if other else ""
        if other and not name.isascii() and normalize("NFC", name).endswith(normalize("NFC", basename(other))):
            differs += ", with its accents in another Unicode form"
        yield f"{path}: {name}{differs}"


def _folded_end(path: str) -> str:
    """Return what the last parts of paths have in common that differ only in case, Unicode form or escapes."""
    return folded(unquote(basename(path)))


def _endings(paths: Iterable[str]) -> set[str]:
    """Return the ends of paths: a.png, x/a.png, ..."""
    return {path.split("/", depth)[-1] for path in paths for depth in range(path.count("/") + 1)}


def check_sizes(survey: Survey) -> Iterator[Finding]:
    """Check that images have the size that the list says."""
    here = {image.path: image for image in survey.images}
    other: dict[str, str] = {}
    turned: dict[str, str] = {}
    unknown = []
    for coco in survey.cocos:
        for name, path, size in zip(coco.names, coco.images, map(tuple, coco.sizes.tolist()), strict=True):
            image = here.get(path)
            if not size[0]:
                unknown.append(f"{coco.path}: {name}")
            elif image is not None and image.width and size != (image.width, image.height):
                (turned if size == image.shown_size else other)[path] = _sizes(coco, size, image)
    yield from some(OTHER_SIZE, other.values(), drop_lines(survey.reference, OTHER_SIZE.code), other)
    yield from some(TURNED, turned.values(), "", turned)
    yield from some(NO_SIZE, unknown)


def _sizes(coco: Coco, size: tuple[int, ...], image: ImageFile) -> str:
    turned = f", orientation {image.orientation}" if image.orientation > 1 else ""
    return f"{coco.path}: {size[0]} x {size[1]}; {image.path}: {image.width} x {image.height}{turned}"


def check_ids(survey: Survey) -> Iterator[Finding]:
    """Check that no id and no image is used twice in a COCO file."""
    twice, listed = [], []
    for coco in survey.cocos:
        for what, ids in (
            ("images", coco.ids.tolist()),
            ("annotations", coco.box_ids[coco.box_ids != NO_ID].tolist()),
            ("categories", [category.id for category in coco.categories]),
        ):
            twice += [f"{coco.path}: {what}: id {one}, {count} times" for one, count in _repeated(ids)]
        places = [path or name for path, name in zip(coco.images, coco.names, strict=True)]
        listed += [f"{coco.path}: {path}, {count} times" for path, count in _repeated(places)]
    yield from some(SAME_IDS, twice)
    yield from some(LISTED_TWICE, listed)


def _repeated(values: Sequence[Value]) -> list[tuple[Value, int]]:
    if len(set(values)) == len(values):
        return []
    return [(value, count) for value, count in Counter(values).items() if count > 1]


def check_labelled(survey: Survey) -> Iterator[Finding]:
    """Look for images without boxes in lists that have boxes."""
    lines: list[str] = []
    alone: set[str] = set()
    labelled: set[str] = set()
    for coco in survey.cocos:
        if len(coco.boxes):
            counts = np.bincount(coco.owners[coco.owners >= 0], minlength=len(coco))
            places = np.flatnonzero(counts == 0).tolist()
            lines += [f"{coco.path}: {coco.names[place]}" for place in places]
            alone.update(coco.images[place] for place in places)
            labelled.update(coco.images[place] for place in np.flatnonzero(counts).tolist())
    yield from some(ALONE, lines, drop_lines(survey.reference, ALONE.code), alone - labelled - {""})


def check_copies(survey: Survey) -> Iterator[Finding]:
    """Look for images of a list that are the same, byte by byte, under different names."""
    lines, copies = [], set()
    for coco in survey.cocos:
        first: dict[str, str] = {}
        for path in sorted(set(filter(None, coco.images))):
            original = first.setdefault(survey.files[path].sha256, path)
            if original != path:
                lines.append(f"{coco.path}: {path} is {original}")
                copies.add(path)
    yield from some(COPIES, lines, drop_lines(survey.reference, COPIES.code), copies)


RULES = (
    BROKEN, BAD_ROWS, ABSENT, MISSING, UNLISTED, OTHER_SIZE, TURNED, LISTED_TWICE, SAME_IDS, ALONE, NO_SIZE, COPIES,
    NO_IMAGES, NO_BOXES,
)  # fmt: skip
CHECKS = (check_files, check_presence, check_sizes, check_ids, check_labelled, check_copies)
