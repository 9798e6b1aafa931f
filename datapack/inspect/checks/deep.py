"""Checks of the pixels of images, once all of them were decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datapack.inspect.findings import Rule, drop_lines, some
from datapack.inspect.likeness import near_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from datapack.inspect.findings import Finding
    from datapack.inspect.model import DeepImage, Survey

    Places = NDArray[np.int64]

# Bits of 64 in which the hashes of two images may differ. Storing an image again as a JPEG, at half its size, brighter
# or with noise changes 0 to 2 of them, cutting off 2 % of each side up to 6; different images differ in 14 or more.
DISTANCE = 6
# The variance of the Laplacian at 512 pixels: rounding to 8 bits alone gives 1 to 2. Sharp images have 50 to 3,000,
# those in fog or turbid water 13 and more, those blurred by a radius of a hundredth of their width less than 5.
BLURRED = 5.0
DARK, BRIGHT = 0.04, 0.96  # of white: a mean of 10 of 255. Images of the deep sea have 0.1 and more
PLAIN = 0.005  # of white: about one step of 255
SHAPELESS = 0.02  # of white: below it, a hash depends on noise
_MOST_LISTS = 63  # that are told apart, as bits of a number

UNDECODABLE = Rule(
    "DP220",
    "error",
    "images that can't be decoded",
    "Training stops at the first one. Their headers are valid, so only decoding reveals it.",
    "Fetch them again, or leave them out.",
    deep=True,
)
NEAR = Rule(
    "DP221",
    "note",
    "near-duplicate images",
    "They count double in training. Frames of a video are often like that.",
    "If there are many, leave them out, or take fewer frames per second.",
    deep=True,
)
BLURS = Rule(
    "DP222",
    "note",
    "blurred images",
    "They show no detail smaller than a hundredth of their width, so small objects can't be seen.",
    "Look at the examples. Leave the images out, unless the detector will also be used on such images.",
    deep=True,
)
DARKS = Rule(
    "DP223",
    "warning",
    "images that are almost black",
    "They show hardly anything. Images with 12 bits stored in 16 only look black.",
    "Look at the examples. Brighten all of them by the same factor, or leave them out.",
    deep=True,
)
BRIGHTS = Rule(
    "DP224",
    "warning",
    "images that are almost white",
    "They are overexposed and show hardly anything.",
    "Look at the examples, and leave them out.",
    deep=True,
)
PLAINS = Rule(
    "DP225",
    "warning",
    "images of a single colour",
    "They show nothing: the camera was covered, or the file was damaged before it came here.",
    "Leave them out.",
    deep=True,
)
LEAKS = Rule(
    "DP410",
    "warning",
    "near-duplicate images in different COCO files",
    "If one file is for training and another for evaluation, the scores are too high.",
    "Look at the examples. Leave them out of one COCO file, or split the images by scene or sequence.",
    deep=True,
)


def check_pixels(survey: Survey) -> Iterator[Finding]:
    """Look for images that can't be decoded, and for those in which there is nothing to see."""
    reference = survey.reference
    broken = [image for image in survey.deep if image.problem]
    lines = [f"{image.path}: {image.problem}" for image in broken]
    yield from some(UNDECODABLE, lines, drop_lines(reference, UNDECODABLE.code), [image.path for image in broken])
    found: dict[Rule, list[str]] = {PLAINS: [], DARKS: [], BRIGHTS: [], BLURS: []}
    for image in survey.deep:
        if rule := _fault(image):
            found[rule].append(image.path)
    for rule, paths in found.items():
        yield from some(rule, paths, drop_lines(reference, rule.code), paths)


def _fault(image: DeepImage) -> Rule | None:
    """Return what is wrong with an image, the worst first."""
    if image.problem:
        return None
    if image.contrast < PLAIN:
        return PLAINS
    if image.brightness < DARK:
        return DARKS
    if image.brightness > BRIGHT:
        return BRIGHTS
    return BLURS if image.sharpness < BLURRED else None


class _Images(NamedTuple):
    """N images with a shape, sorted by path, and what decides which of them are compared."""

    paths: Sequence[str]
    hashes: NDArray[np.uint64]
    files: Places  # the same number for files that are the same byte by byte
    lists: NDArray[np.uint64]  # a bit for each list that has the image
    sizes: Places  # of the largest list that has the image

    @classmethod
    def of(cls, survey: Survey) -> _Images:
        shaped = [image for image in survey.deep if not image.problem and image.contrast >= SHAPELESS]
        place = {image.path: number for number, image in enumerate(shaped)}
        numbers: dict[str, int] = {}
        files = [numbers.setdefault(survey.files[image.path].sha256, len(numbers)) for image in shaped]
        bits, sizes = np.zeros(len(shaped), np.uint64), np.zeros(len(shaped), np.int64)
        for number, coco in enumerate([coco for coco in survey.cocos if len(coco)][:_MOST_LISTS]):
            held = np.array([place[path] for path in coco.images if path in place], np.int64)
            bits[held] |= np.uint64(1 << number)
            sizes[held] = np.maximum(sizes[held], len(coco))
        hashes = np.array([image.likeness for image in shaped], np.uint64)
        return cls([image.path for image in shaped], hashes, np.array(files, np.int64), bits, sizes)


def check_likeness(survey: Survey) -> Iterator[Finding]:
    """Look for images that are almost alike, in one list or in several. Identical files are another rule's."""
    images = _Images.of(survey)
    none = len(images.paths)
    alike, leaking = np.full(none, none), np.full(none, none)  # for each image, the first other one that it is like
    for one, two in near_pairs(images.hashes, DISTANCE):
        differ = images.files[one] != images.files[two]
        low, high = np.minimum(one, two)[differ], np.maximum(one, two)[differ]
        mine, theirs = images.lists[low], images.lists[high]
        together = ((mine & theirs) != 0) | ((mine == 0) & (theirs == 0))
        apart = ~together & (mine != 0) & (theirs != 0)
        np.minimum.at(alike, high[together], low[together])
        larger = images.sizes[low] > images.sizes[high]
        np.minimum.at(leaking, np.where(larger, low, high)[apart], np.where(larger, high, low)[apart])
    yield from _report(NEAR, images, alike, survey.reference)
    yield from _report(LEAKS, images, leaking, survey.reference)


def _report(rule: Rule, images: _Images, like: Places, reference: str) -> Iterator[Finding]:
    """Report the images that are like another one; of two lists, those of the larger one can be dropped."""
    found = [(images.paths[at], images.paths[like[at]]) for at in np.flatnonzero(like < len(like)).tolist()]
    lines = [f"{path} is like {other}" for path, other in found]
    yield from some(rule, lines, drop_lines(reference, rule.code), [path for path, _ in found])


RULES = (UNDECODABLE, NEAR, BLURS, DARKS, BRIGHTS, PLAINS, LEAKS)
CHECKS = (check_pixels, check_likeness)
