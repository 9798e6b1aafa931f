"""Checks of images by their headers and their metadata."""

from __future__ import annotations

from statistics import median_low
from typing import TYPE_CHECKING

from datapack.inspect.findings import Rule, drop_lines, some
from datapack.inspect.forms import READABLE, form_of_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datapack.inspect.findings import Finding
    from datapack.inspect.model import ImageFile, Survey

_SMALL = 32  # pixels: what most detectors make one number of, so that such an image has hardly any
_FACTOR = 16  # times as many pixels as the median, or as few: four times each side
_ENOUGH = 10  # images, of which a median says something

BROKEN = Rule(
    "DP201",
    "error",
    "images that can't be read",
    "Training stops at the first of them, or silently runs with less data.",
    "Fetch them again, or leave them out.",
)
OTHER_FORM = Rule(
    "DP202",
    "error",
    "images in forms that trainers can't read",
    "The trainers decode " + ", ".join(sorted(READABLE)[:-1]) + f" and {max(READABLE)}.",
    "Convert them, without loss to PNG or TIFF, and correct file_name in the lists.",
)
TURNED = Rule(
    "DP203",
    "warning",
    "images that their EXIF orientation turns or mirrors",
    "Some programs turn such an image and others do not. Boxes fit only one of both.",
    "Store the images upright, without EXIF orientation; datapack's trainers decide by the sizes in the list.",
)
POSITIONS = Rule(
    "DP204",
    "warning",
    "images with a position on Earth in their metadata",
    "It may show where a person lives or works, or where a protected species is found.",
    "Remove it from the files (exiftool -gps:all= -xmp:geotag=), or silence this finding if positions may be known.",
)
IDENTIFYING = Rule(
    "DP205",
    "warning",
    "images whose metadata names a camera or a person",
    "Serial numbers connect images with others of the same camera; names are personal data.",
    "Remove these fields from the files (exiftool -all= -tagsfromfile @ -orientation), or silence this finding.",
)
MISNAMED = Rule(
    "DP206",
    "note",
    "images whose names stand for another form",
    "Programs that go by the content read them, others fail.",
    "Correct the endings of their names, and file_name in the lists.",
)
SIZES = Rule(
    "DP207",
    "note",
    f"images with over {_FACTOR} times as many pixels as most, or as few",
    "Resized to one size, objects in them are far larger or smaller than in the others. Some may be thumbnails.",
    "Look at the examples; leave out thumbnails, cut large images into pieces.",
)
REFUSED = Rule(
    "DP208",
    "error",
    "images whose pixels are no numbers from 0 to 255 or 65,535",
    "Fractions, signed and 32-bit numbers have no fixed range, and few programs read 12-bit JPEGs: trainers refuse.",
    "Convert them to 8 or 16 bits, with one factor for all.",
)
DEEP = Rule(
    "DP209",
    "note",
    "images with 16 bits per channel",
    "Trainers use the upper 8 bits: if the camera wrote 10 or 12 bits into them, images are almost black.",
    "If so, multiply the values by 64 or 16.",
)
CMYK = Rule(
    "DP210",
    "note",
    "images in the colours of print (CMYK)",
    "They are converted to RGB without a colour profile, so colours differ from those of other images.",
    "Convert them to RGB with their profile.",
)
ALPHA = Rule(
    "DP211",
    "note",
    "images with transparent parts or an alpha channel",
    "Trainers drop it: what is transparent shows the colour below, often black or noise.",
    "Lay them over a background of one colour if that matters.",
)
ANIMATED = Rule(
    "DP212",
    "note",
    "images with several frames",
    "Trainers use the first one only.",
    "Store each frame as an image of its own.",
)
SMALL = Rule(
    "DP213",
    "warning",
    f"images with a side of less than {_SMALL} pixels",
    "There is hardly anything to see in them: many are icons or placeholders for images that were not found.",
    "Look at the examples, and leave them out.",
)

_REFUSED = {"fractions", "32-bit or signed numbers", "12-bit JPEG"}
_TRAITS = {DEEP: "16 bits", CMYK: "CMYK", ALPHA: "alpha", ANIMATED: "animated"}


def check_images(survey: Survey) -> Iterator[Finding]:
    """Check the form, the size and the pixels of every image."""
    reference = survey.reference
    yield from _some(BROKEN, survey, lambda image: image.problem, reference)
    yield from _some(OTHER_FORM, survey, lambda image: "" if image.form in READABLE else image.form, reference)
    yield from _some(TURNED, survey, lambda image: f"orientation {image.orientation}" if image.orientation > 1 else "")
    yield from _some(MISNAMED, survey, _misnamed)
    yield from _some(REFUSED, survey, lambda image: ", ".join(_REFUSED.intersection(image.traits)), reference)
    for rule, trait in _TRAITS.items():
        yield from _some(rule, survey, lambda image, trait=trait: image.form if trait in image.traits else "")  # type: ignore[misc]
    yield from _some(SMALL, survey, lambda image: _size(image) if 0 < min(_sides(image)) < _SMALL else "", reference)
    yield from _sizes(survey)


def check_metadata(survey: Survey) -> Iterator[Finding]:
    """Look for positions, and for fields that identify a camera or a person. No value is shown."""
    reference = survey.reference
    positions = [image.path for image in survey.images if image.has_position]
    yield from some(POSITIONS, positions, _silence_or_drop(reference, POSITIONS.code), positions)
    named = [image for image in survey.images if image.identifying]
    lines = [f"{image.path}: {', '.join(image.identifying)}" for image in named]
    catalog = _silence_or_drop(reference, IDENTIFYING.code)
    yield from some(IDENTIFYING, lines, catalog, [image.path for image in named])


def _silence_or_drop(reference: str, code: str) -> str:
    return f'silence: {{{code}: "why this may be known"}}\n# or without these images:\n{drop_lines(reference, code)}'


def _some(rule: Rule, survey: Survey, why: Callable[[ImageFile], str], reference: str = "") -> Iterator[Finding]:
    """Yield a finding about the images for which ``why`` gives a text; with a reference they can be dropped from it."""
    found = [(image.path, reason) for image in survey.images if (reason := why(image))]
    catalog = drop_lines(reference, rule.code) if reference else ""
    yield from some(rule, [f"{path}: {reason}" for path, reason in found], catalog, [path for path, _ in found])


def _misnamed(image: ImageFile) -> str:
    named = form_of_name(image.path)
    return f"its content is {image.form}" if image.form and named and named != image.form else ""


def _sides(image: ImageFile) -> tuple[int, int]:
    return image.width, image.height


def _size(image: ImageFile) -> str:
    return f"{image.width:,} x {image.height:,}"


def _sizes(survey: Survey) -> Iterator[Finding]:
    """Look for images that are much larger or smaller than most."""
    pixels = {image: image.width * image.height for image in survey.images if image.width and image.height}
    if len(pixels) < _ENOUGH:
        return
    usual = median_low(pixels.values())
    odd = [image for image, count in pixels.items() if count > _FACTOR * usual or count * _FACTOR < usual]
    odd.sort(key=lambda image: (pixels[image], image.path))
    lines = [f"{image.path}: {_size(image)}" for image in odd]
    yield from some(SIZES, lines, drop_lines(survey.reference, SIZES.code), [image.path for image in odd])


RULES = (
    *(BROKEN, OTHER_FORM, TURNED, POSITIONS, IDENTIFYING, MISNAMED, SIZES, REFUSED, DEEP, CMYK, ALPHA, ANIMATED),
    SMALL,
)
CHECKS = (check_images, check_metadata)
