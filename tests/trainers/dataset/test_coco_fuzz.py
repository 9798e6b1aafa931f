"""Whatever is in a COCO file: it is read, with boxes that a training can use, or the error is one short line."""

import contextlib
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.dataset.coco_file import Cleaned, parse_coco
from trainers.dataset.split import split
from trainers.errors import TrainingError

ODD_NUMBERS = [0, 1, -1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), 3_000_000_000, True]
ODD_TEXTS = ["", "0", "\ud800", "a\nTRAINING OK", "\x1b[2J", "\u202e", "a" * 5000, "../a", "a\\b", "\0", "NaN"]
ODD = st.sampled_from([*ODD_NUMBERS, *ODD_TEXTS, None, [], {}, [[]], [1, 2, 3, 4], ["1", 2, 3, 4]])
IDS = st.integers(0, 3)  # few, so that many boxes have an image and a category
NAMES = st.text("abcde/", min_size=3, max_size=9)
SIDES = st.sampled_from([-5, 0, 0.5, 1, 7, 40, 1e9])


def mostly(sound, *others):
    """Draw a sound value, and one time in twelve another: nearly every file would have an error at its start."""
    return st.integers(0, 11).flatmap(lambda number: sound if number else st.one_of(*others))


def rows(**fields):
    """Draw rows, some of which have an odd value, lack a key or are no object."""
    row = st.fixed_dictionaries(fields)
    odd = st.builds(lambda row, key, value: row | {key: value}, row, st.sampled_from(sorted(fields)), ODD)
    short = st.builds(lambda row, key: {k: v for k, v in row.items() if k != key}, row, st.sampled_from(sorted(fields)))
    return mostly(st.lists(mostly(row, odd, short, ODD), max_size=6), ODD)


IMAGES = rows(
    id=st.integers(0, 9),
    file_name=NAMES,
    width=st.integers(1, 50),
    height=st.integers(1, 50),
    coco_url=st.none() | NAMES,
)
BOXES = rows(
    image_id=IDS,
    category_id=IDS,
    bbox=st.lists(SIDES, min_size=4, max_size=4),
    area=st.none() | SIDES,
    iscrowd=st.sampled_from([0, 1, None, False]),
)
CATEGORIES = rows(id=st.integers(0, 9), name=NAMES)
DOCUMENTS = st.fixed_dictionaries(
    {"images": IMAGES}, optional={"annotations": BOXES, "categories": CATEGORIES, "info": ODD, "\ud800": ODD}
)
SOUND = json.dumps(
    {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 9, "height": 7, "coco_url": ""} for i in range(3)],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [1, 2, 3.5, 4], "iscrowd": 0} for i in range(3)],
        "categories": [{"id": 1, "name": "caf\u00e9"}],
    }
).encode()


def check(content: bytes, *, boxes: bool = True) -> bool:
    """Read a file; whether it could be read."""
    try:
        coco = parse_coco(content, "train.json", boxes=boxes)
    except TrainingError as error:
        said = str(error)
        assert said.startswith("train.json")
        assert len(said.splitlines()) == 1
        assert said.isprintable()
        assert len(said) < 600
        return False
    targets = coco.targets()
    edges = np.tile(coco.sizes, 2)[targets.owners]
    assert ((targets.boxes >= 0) & (targets.boxes <= edges)).all()
    assert ((targets.boxes[:, 2:] - targets.boxes[:, :2]) > 1).all()
    assert ((targets.labels >= 1) & (targets.labels <= len(coco.categories))).all()
    assert np.isfinite(coco.bbox).all()
    assert np.isfinite(coco.areas).all()
    assert len(coco.bbox) == len(coco.labels) == len(coco.areas) == len(coco.crowd) == coco.offsets[-1]
    str(Cleaned.of(coco)).encode()
    with contextlib.suppress(TrainingError):
        split(coco, 0.5, 0)
    return True


@given(DOCUMENTS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_odd_values_are_read_or_one_line(document, boxes):
    """Rows with values of any kind, missing keys and no objects at all."""
    check(json.dumps(document).encode(), boxes=boxes)


CHANGES = st.lists(
    st.tuples(
        st.integers(0, len(SOUND)),
        st.integers(0, 4),
        st.sampled_from(
            [b"", b"\0", b"\xff", b"[", b"]", b"{", b'"', b"\\ud800", b"-", b"1e999", b"NaN", b",", b":", b"9" * 5000]
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(CHANGES)
@settings(max_examples=400, deadline=None)
def test_changed_bytes_are_read_or_one_line(changes):
    """A sound file in which some bytes were replaced, inserted or cut off."""
    content = SOUND
    for at, length, new in changes:
        content = content[:at] + new + content[at + length :]
    check(content)
    check(content[: changes[0][0]])


def test_the_sound_file_is_sound():
    """Otherwise the changes would be lost in an earlier error."""
    assert check(SOUND)
