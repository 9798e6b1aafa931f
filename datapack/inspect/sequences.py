"""Find the sequences of images, such as the frames of a video or of a dive, and when each image was taken in it.

The folder of an image's URL, or of its name, is its sequence, together with what its name begins with. The name ends
with a time, ``00_13_19_06`` (hours, minutes, seconds, frames) or ``20160616T001319``, or with the number of a frame.
"""

from __future__ import annotations

import calendar
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np

from datapack.inspect.locate import plain_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FRAMES = 60  # in a second at most: the fourth number of a time code
_LONGEST_NUMBER = 15  # digits that a float holds
# What services add to a name: a uuid (FathomNet), ``_jpg.rf.<hash>`` (Roboflow).
_ADDED = re.compile(
    r"(?:--?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|_(?:jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9A-Za-z]+)\Z"
)
_TIME_CODE = re.compile(r"(?<!\d)(\d\d)[_:.-]([0-5]\d)[_:.-]([0-5]\d)[_:.-](\d\d)\Z")
_DATE_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)-?(0[1-9]|1[0-2])-?([0-3]\d)[T_-]([0-2]\d)[:-]?([0-5]\d)[:-]?([0-5]\d)(?:[.,](\d{1,9}))?Z?\Z"
)
_DIGITS = "0123456789"
_LONGEST_NAME = 255  # bytes of a name on any usual disk
_FRAME = re.compile(r"(?:\A|[^a-z])(?:frame|frm|f)s?[^a-z]*\Z", re.IGNORECASE)
# Folders that hold images of all kinds: in them, a number alone is no frame's.
_PLAIN_FOLDER = re.compile(
    r"(?:images?|imgs?|data|photos?|pictures?|jpegimages|uploads?|train|training|val|valid|validation|test|testing|eval)"
    r"\d*\Z",
    re.IGNORECASE,
)


class Sequences(NamedTuple):
    """The sequences of a COCO file, as columns of `Coco`."""

    sequences: NDArray[np.int64]
    names: tuple[str, ...]
    times: NDArray[np.float64]
    numbered: frozenset[int]


class _Moment(NamedTuple):
    """An image's sequence and its time in it, in seconds or frames; a sequence without a name is none."""

    sequence: str
    time: float
    is_number: bool
    is_sure: bool = False  # it has a time, or the number of a frame: not just a number
    has_folder: bool = False


_NONE = _Moment("", np.nan, is_number=True)


def find_sequences(names: Sequence[str], urls: Sequence[str]) -> Sequences:
    """Find the sequences of images by their names and URLs, which may be empty.

    Names that only end with a number are a sequence if others have another beginning: ``reef-001`` to ``reef-072``
    alone say nothing about frames. Nor does a beginning that a single name has, as names made of hashes.
    """
    moments = [_moment(name, url) for name, url in zip(names, urls, strict=True)]
    unsure = Counter(moment.sequence for moment in moments if moment.sequence and not moment.is_sure)
    moments = [
        moment if moment.is_sure or (len(unsure) > 1 and (moment.has_folder or unsure[moment.sequence] > 1)) else _NONE
        for moment in moments
    ]
    index: dict[tuple[str, bool], int] = {}
    places = [
        index.setdefault((moment.sequence, moment.is_number), len(index)) if moment.sequence else -1
        for moment in moments
    ]
    return Sequences(
        np.array(places, np.int64),
        tuple(name for name, _ in index),
        np.array([moment.time for moment in moments], np.float64),
        frozenset(place for (_, is_number), place in index.items() if is_number),
    )


def _moment(name: str, url: str) -> _Moment:
    folder, _, base = _url_path(url).rpartition("/") if url else ("", "", "")
    if not base:
        folder, _, base = plain_name(name).rpartition("/")
    if _PLAIN_FOLDER.fullmatch(folder.rpartition("/")[2]) and not url:
        folder = ""
    stem = (base.rpartition(".")[0] or base)[-_LONGEST_NAME:]
    stem = _ADDED.sub("", stem)
    if match := _TIME_CODE.search(stem):
        hours, minutes, seconds, frames = map(int, match.groups())
        time = hours * 3600 + minutes * 60 + seconds + min(frames, _FRAMES) / _FRAMES
        return _Moment(_joined(folder, stem[: match.start()]), time, is_number=False, is_sure=True)
    if match := _DATE_TIME.search(stem):
        *parts, fraction = match.groups()
        time = calendar.timegm((*map(int, parts), 0, 0, 0)) + (float(f"0.{fraction}") if fraction else 0)
        return _Moment(_joined(folder, stem[: match.start()]), time, is_number=False, is_sure=True)
    return _numbered(folder, stem)


def _numbered(folder: str, stem: str) -> _Moment:
    start = stem.rstrip(_DIGITS)
    digits = stem[len(start) :]
    is_plain = not folder or bool(_PLAIN_FOLDER.fullmatch(folder.rpartition("/")[2]))
    if not 0 < len(digits) <= _LONGEST_NUMBER:
        return _Moment("" if is_plain else folder, np.nan, is_number=True, has_folder=True)
    if is_plain and not start:
        return _NONE
    is_frame = bool(_FRAME.search(start))
    return _Moment(_joined(folder, start), float(digits), is_number=True, is_sure=is_frame, has_folder=bool(folder))


def _joined(folder: str, start: str) -> str:
    """Return the name of a sequence: a folder and the beginning that its files share, without what separates them."""
    start = start.rstrip("_-. ")
    return f"{folder}/{start}" if folder and start else folder or start or "."


def _url_path(url: str) -> str:
    try:
        return unquote(urlsplit(url).path).strip("/")
    except ValueError:  # such as a broken IPv6 address
        return ""
