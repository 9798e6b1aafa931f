"""Checks of images by their headers and their metadata."""

from __future__ import annotations

from statistics import median_low
from typing import TYPE_CHECKING

from datapack.inspect.findings import Rule, drop_lines, some
from datapack.inspect.forms import READABLE, form_of_name
from datapack.inspect.suspects import is_leftover

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
    "Training stops at the first one, or silently runs with less data.",
    "Fetch them again, or leave them out.",
)
OTHER_FORM = Rule(
    "DP202",
    "error",
    "images in formats that the trainers can't read",
    "The trainers decode " + ", ".join(sorted(READABLE)[:-1]) + f" and {max(READABLE)}.",
    "Convert them without loss, to PNG or TIFF, and correct file_name in the COCO files.",
)
TURNED = Rule(
    "DP203",
    "warning",
    "images that their EXIF orientation rotates or mirrors",
    "Some programs apply the orientation and others ignore it. The boxes fit only one of the two.",
    "Store the images upright, without EXIF orientation. datapack's trainers decide by the sizes in the COCO file.",
)
POSITIONS = Rule(
    "DP204",
    "warning",
    "images with a GPS position in their metadata",
    "It may reveal where a person lives or works, or where a protected species is found.",
    "Remove it from the files (exiftool -gps:all= -xmp:geotag=), or silence this finding if the positions may be "
    "known.",
)
IDENTIFYING = Rule(
    "DP205",
    "warning",
    "images whose metadata identifies a camera or a person",
    "Serial numbers link images to others from the same camera, and names are personal data.",
    "Remove these fields from the files (exiftool -all= -tagsfromfile @ -orientation), or silence this finding.",
)
MISNAMED = Rule(
    "DP206",
    "note",
    "images whose extension does not match their format",
    "Programs that trust the extension fail; programs that look at the content read them.",
    "Correct the extensions, and file_name in the COCO files.",
)
SIZES = Rule(
    "DP207",
    "note",
    f"images with over {_FACTOR} times more or fewer pixels than most",
    "Once images are resized to one size, objects in these are far larger or smaller than in the others. Some may"
    " be thumbnails.",
    "Look at the examples. Leave thumbnails out, and cut large images into tiles.",
)
REFUSED = Rule(
    "DP208",
    "error",
    "images whose pixels are not 8-bit or 16-bit unsigned integers",
    "Fractions, signed and 32-bit numbers have no fixed range, and few programs read 12-bit JPEGs. The trainers "
    "refuse them.",
    "Convert them to 8 or 16 bits, with the same factor for all.",
)
DEEP = Rule(
    "DP209",
    "note",
    "images with 16 bits per channel",
    "The trainers use the upper 8 bits. If the camera recorded only 10 or 12 bits, the images look almost black.",
    "In that case, multiply the values by 64 or 16.",
)
CMYK = Rule(
    "DP210",
    "note",
    "images in CMYK, the colours of print",
    "They are converted to RGB without a colour profile, so their colours differ from those of other images.",
    "Convert them to RGB with their colour profile.",
)
ALPHA = Rule(
    "DP211",
    "note",
    "images with transparency or an alpha channel",
    "The trainers drop the alpha channel. Transparent parts then show the colour underneath, often black or noise.",
    "If that matters, place them on a background of one colour.",
)
ANIMATED = Rule(
    "DP212",
    "note",
    "images with several frames",
    "The trainers use only the first one.",
    "Store each frame as a separate image.",
)
SMALL = Rule(
    "DP213",
    "warning",
    f"images with a side of less than {_SMALL} pixels",
    "They show hardly anything: many are icons, or placeholders for missing images.",
    "Look at the examples, and leave them out.",
)

_REFUSED = {"fractions", "32-bit or signed numbers", "12-bit JPEG"}
_TRAITS = {DEEP: "16 bits", CMYK: "CMYK", ALPHA: "alpha", ANIMATED: "animated"}


def check_images(survey: Survey) -> Iterator[Finding]:
    """Check the form, the size and the pixels of every image."""
    reference = survey.reference
    listed = {path for coco in survey.cocos for path in coco.images}
    yield from _some(
        BROKEN,
        survey,
        lambda image: image.problem if image.path in listed or not is_leftover(image.path) else "",
        reference,
    )
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
