"""Checks between lists: what is in a training list must not be, or nearly be, in an evaluation list too."""

from __future__ import annotations

import json
import posixpath
import re
from collections import defaultdict
from itertools import combinations, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datapack.inspect.findings import Finding, Rule, drop_lines, few
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from datapack.bag.bagit import PayloadFile
    from datapack.inspect.model import Coco, Survey

SECONDS, NUMBERS = 10, 10
SAME_IMAGES = Rule(
    "DP401",
    "error",
    "identical images in several COCO files",
    "If one file is for training and another for evaluation, the scores are too high. The images have the same "
    "bytes, whatever their names.",
    "Leave them out of one COCO file, or split the images again.",
)
NEIGHBOURS = Rule(
    "DP402",
    "error",
    f"images of one sequence, at most {SECONDS} seconds apart, in different COCO files",
    "Such images look almost the same. In files for training and evaluation, they make the scores too high.",
    "Split the images by sequence, or leave out the neighbours.",
)
NEAR_NUMBERS = Rule(
    "DP403",
    "warning",
    f"images of one sequence, at most {NUMBERS} numbers apart, in different COCO files",
    "If the numbers are frame numbers, such images look almost the same, and scores are too high.",
    "If they are frames, split the images by sequence, or leave out the neighbours. Otherwise silence this finding.",
)
AUGMENTED = Rule(
    "DP407",
    "warning",
    "images that Roboflow made from one image, in different COCO files",
    "Their names are the same up to '.rf.'. They show the same scene, brighter or turned, so scores are too high.",
    "Split the images before they are augmented, or leave copies out. Silence this if only the names are the same.",
)
CONTAINED = Rule(
    "DP406",
    "warning",
    "COCO files whose images are all in another COCO file",
    "That is right for a sample, and wrong if one file is for training and the other for evaluation.",
    "If it is a sample, silence this finding; otherwise split the images again.",
)
_MOST_PAIRS = 2000  # of lists that are compared: a folder may have a COCO file for each image
_MOST_LISTS = 20  # that one image is looked for in
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # a path that YAML needs no quotes for
_AUGMENTED = re.compile(r"(.+)\.rf\.[0-9A-Za-z]+\.[A-Za-z]+")  # how Roboflow names what it makes from an image
_TRAINING, _EVALUATION = re.compile("train", re.IGNORECASE), re.compile("val|test|eval", re.IGNORECASE)


class _Pair(NamedTuple):
    """Two lists that share images: the smaller one first."""

    small: Coco
    large: Coco
    shared: frozenset[str]  # the hashes of images that are in both

    @property
    def is_nested(self) -> bool:
        """Whether one list is a part of the other, unless their names contradict that."""
        return len(self.shared) == len(self.small) and not _opposed(self.small.path, self.large.path)

    def copies(self, files: Mapping[str, PayloadFile]) -> set[str]:
        """Return the images of the larger list that the smaller one has too, under another name."""
        return {path for path in self.large.images if path and files[path].sha256 in self.shared}.difference(
            self.small.images
        )


def _opposed(path: str, other: str) -> bool:
    return any(
        _TRAINING.search(one) and not _TRAINING.search(two) and _EVALUATION.search(two)
        for one, two in ((path, other), (other, path))
    )


def check_same_images(survey: Survey) -> Iterator[Finding]:
    """Look for images that are in several lists."""
    pairs = [pair for pair in _pairs(survey) if pair.shared]
    nested = [f"{pair.small.path} is a part of {pair.large.path}" for pair in pairs if pair.is_nested]
    if nested:
        yield Finding(CONTAINED, len(nested), few(nested))
    shared = sorted((pair for pair in pairs if not pair.is_nested), key=lambda pair: -len(pair.shared))
    if shared:
        images = frozenset().union(*(pair.shared for pair in shared))
        lines = few(_describe_shared(pair, survey.files) for pair in shared)
        files = frozenset().union(*(pair.copies(survey.files) for pair in shared))
        catalog = _split_lines(survey, shared[0].large)
        if files:
            catalog += "\n# or\n" + drop_lines(survey.reference, SAME_IMAGES.code)
        yield Finding(SAME_IMAGES, len(images), lines, catalog, files)


def _describe_shared(pair: _Pair, files: Mapping[str, PayloadFile]) -> str:
    first = min(path for path in pair.small.images if path and files[path].sha256 in pair.shared)
    others = [path for path in pair.large.images if path and files[path].sha256 == files[first].sha256]
    same = "" if first in others else f", which is {min(others)}"
    return f"{pair.small.path} and {pair.large.path}: {counted(len(pair.shared), 'image')}, such as {first}{same}"


def check_augmented(survey: Survey) -> Iterator[Finding]:
    """Look for copies of one image that Roboflow has augmented, in different lists."""
    stems: dict[str, dict[int, str]] = defaultdict(dict)
    for place, coco in enumerate(survey.cocos):
        for path in coco.images:
            if match := _AUGMENTED.fullmatch(posixpath.basename(path)):
                stems[match[1]].setdefault(place, path)
    pairs: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
    for found in stems.values():
        for (one, path), (other, another) in combinations(islice(found.items(), _MOST_LISTS), 2):
            if survey.files[path].sha256 != survey.files[another].sha256:
                pairs[one, other].append((path, another))
    if pairs:
        ordered = sorted(pairs.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        lines = few(
            f"{survey.cocos[one].path} and {survey.cocos[other].path}: {counted(len(same), 'image')}, such as "
            + " and ".join(same[0])
            for (one, other), same in ordered
        )
        files = frozenset(another for same in pairs.values() for _, another in same)
        catalog = drop_lines(survey.reference, AUGMENTED.code)
        yield Finding(AUGMENTED, sum(map(len, pairs.values())), lines, catalog, files)


def check_neighbours(survey: Survey) -> Iterator[Finding]:
    """Look for neighbouring images of one sequence in different lists."""
    nested = {(pair.small.path, pair.large.path) for pair in _pairs(survey) if pair.is_nested}
    found: dict[Rule, list[_Near]] = {NEIGHBOURS: [], NEAR_NUMBERS: []}
    for small, large in _related(survey):
        if (small.path, large.path) not in nested:
            for rule, is_number, most in ((NEIGHBOURS, False, SECONDS), (NEAR_NUMBERS, True, NUMBERS)):
                near = _find_near(small, large, survey.files, most, is_number=is_number)
                if near.images:
                    found[rule].append(near)
    for rule, pairs in found.items():
        if pairs:
            pairs.sort(key=lambda near: -near.images)
            files = frozenset().union(*(near.files for near in pairs))
            catalog = _split_lines(survey, pairs[0].large) + "\n# or\n" + drop_lines(survey.reference, rule.code)
            count = sum(near.images for near in pairs)
            yield Finding(rule, count, few(near.line for near in pairs), catalog, files)


class _Near(NamedTuple):
    """The images of a list that have neighbours in a larger one."""

    large: Coco
    images: int  # of the smaller list
    line: str
    files: frozenset[str]  # their neighbours in the larger list


def _find_near(small: Coco, large: Coco, payload: Mapping[str, PayloadFile], most: float, *, is_number: bool) -> _Near:
    """Find the images of ``small`` that have a neighbour in ``large`` which is not the same image."""
    here, there = _by_sequence(small, is_number=is_number), _by_sequence(large, is_number=is_number)
    found: list[tuple[float, str, str]] = []
    files: set[str] = set()
    for name in here.keys() & there.keys():
        ours, theirs = here[name], there[name]
        if is_number and "/" not in name and _are_two(small, large, ours, theirs, payload):
            continue
        for at, nearest, apart in _nearest(small.times[ours], large.times[theirs], most):
            one, other = small.images[ours[at]], large.images[theirs[nearest]]
            if payload[one].sha256 != payload[other].sha256:
                found.append((apart, one, other))
        files |= {large.images[theirs[at]] for at, _, _ in _nearest(large.times[theirs], small.times[ours], most)}
    apart, one, other = min(found, default=(0.0, "", ""))
    distance = f"number {apart:.0f} away" if is_number else f"{apart:.2g} s apart"
    line = f"{small.path} and {large.path}: {counted(len(found), 'image')}, such as {one} and {other}, {distance}"
    return _Near(large, len(found), line, frozenset(files))


def _are_two(
    small: Coco, large: Coco, ours: NDArray[np.int64], theirs: NDArray[np.int64], payload: Mapping[str, PayloadFile]
) -> bool:
    """Whether a name like ``frame`` is that of two videos: all numbers that both have are those of other images."""
    _, here, there = np.intersect1d(small.times[ours], large.times[theirs], return_indices=True)
    pairs = [(small.images[ours[one]], large.images[theirs[other]]) for one, other in zip(here, there, strict=True)]
    return bool(pairs) and not any(
        payload[one].sha256 == payload[other].sha256 or _AUGMENTED.search(one) for one, other in pairs
    )


def _by_sequence(coco: Coco, *, is_number: bool) -> dict[str, NDArray[np.int64]]:
    """Return the images of each sequence that are there and have a time, ordered by it."""
    is_numbered = np.array([place in coco.numbered for place in range(len(coco.sequence_names))], np.bool_)
    timed = np.isfinite(coco.times) & (coco.sequences >= 0) & np.array([bool(path) for path in coco.images], np.bool_)
    chosen = np.flatnonzero(timed)
    chosen = chosen[is_numbered[coco.sequences[chosen]] == is_number]
    ordered = chosen[np.lexsort((coco.times[chosen], coco.sequences[chosen]))]
    starts = np.flatnonzero(np.diff(coco.sequences[ordered], prepend=-1))
    parts = np.split(ordered, starts[1:])
    return {coco.sequence_names[coco.sequences[part[0]]]: part for part in parts if len(part)}


def _nearest(times: NDArray[np.float64], others: NDArray[np.float64], most: float) -> Iterator[tuple[int, int, float]]:
    """Yield each time that has a neighbour among the others: its place, the nearest one's place, and the distance."""
    after = np.minimum(np.searchsorted(others, times), len(others) - 1)
    before = np.maximum(after - 1, 0)
    best = np.where(np.abs(others[before] - times) <= np.abs(others[after] - times), before, after)
    distances = np.abs(others[best] - times)
    for at in np.flatnonzero(distances <= most).tolist():
        yield at, int(best[at]), float(distances[at])


def _related(survey: Survey) -> Iterator[tuple[Coco, Coco]]:
    """Yield the pairs of lists that share a sequence, the smaller list first."""
    lists = defaultdict(list)
    for place, coco in enumerate(survey.cocos):
        for name in dict.fromkeys(coco.sequence_names):
            lists[name].append(place)
    pairs = dict.fromkeys(pair for places in lists.values() for pair in combinations(places[:_MOST_LISTS], 2))
    for one, other in islice(pairs, _MOST_PAIRS):
        yield _sorted(survey.cocos[one], survey.cocos[other])


def _pairs(survey: Survey) -> list[_Pair]:
    """Return the pairs of lists that share images."""
    lists = defaultdict(list)
    for place, coco in enumerate(survey.cocos):
        for sha256 in {survey.files[path].sha256 for path in coco.images if path}:
            lists[sha256].append(place)
    shared = defaultdict(set)
    for sha256, places in lists.items():
        for pair in combinations(places[:_MOST_LISTS], 2):
            shared[pair].add(sha256)
    found = sorted(shared.items())[:_MOST_PAIRS]
    return [_Pair(*_sorted(*(survey.cocos[place] for place in pair)), frozenset(images)) for pair, images in found]


def _sorted(one: Coco, other: Coco) -> tuple[Coco, Coco]:
    return (one, other) if (len(one), one.path) <= (len(other), other.path) else (other, one)


def _split_lines(survey: Survey, coco: Coco) -> str:
    """Return the lines of a new version that splits a COCO file again."""
    reference = survey.reference or "NAME@VERSION"
    path = coco.path if _PLAIN.fullmatch(coco.path) else json.dumps(coco.path, ensure_ascii=False)
    return (
        f"sources:  # of a new version\n  - split: {reference}\n    coco: {path}\n    ratios: {{train: 0.8, val: 0.2}}"
    )


RULES = (SAME_IMAGES, NEIGHBOURS, NEAR_NUMBERS, CONTAINED, AUGMENTED)
CHECKS = (check_same_images, check_neighbours, check_augmented)
