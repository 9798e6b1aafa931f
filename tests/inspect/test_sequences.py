"""Sequences and times of images, from URLs and names."""

import math

import pytest

from datapack.inspect.sequences import find_sequences

UUID = "1bd82b31-4ccc-488c-975b-9bc90d50206b"


def moments(*names, urls=None):
    """Return each image's sequence, its time, and whether that is a number of a frame."""
    found = find_sequences(names, urls or [""] * len(names))
    return [
        (found.names[place] if place >= 0 else None, None if math.isnan(time) else time, place in found.numbered)
        for place, time in zip(found.sequences.tolist(), found.times.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("url", "sequence", "time"),
    [
        ("http://h/m3/Doc%20Ricketts/images/0861/00_13_19_06.png", "m3/Doc Ricketts/images/0861", 13 * 60 + 19.1),
        (f"http://h/d/07_24_54_02--{UUID}.png", "d", 7 * 3600 + 24 * 60 + 54 + 2 / 60),
        ("http://h/d/20160616T001319.png", "d", 1466035999),
        (f"http://h/d/20181203T153545Z-{UUID}.png", "d", 1543851345),
        (f"http://h/d/20181203T153545.250Z--{UUID}.png", "d", 1543851345.25),
        ("http://h/d/cam2_2018-12-03T15-35-45.png", "d/cam2", 1543851345),
    ],
)
def test_time_in_a_url(url, sequence, time):
    """FathomNet names a frame by its time on the tape, or by the date and the time."""
    ((found, seconds, is_number),) = moments("x.png", urls=[url])
    assert (found, is_number) == (sequence, False)
    assert seconds == pytest.approx(time)


@pytest.mark.parametrize(
    ("name", "sequence", "number"),
    [
        ("frame_000123.jpg", "frame", 123),
        ("clip one/000123.jpg", "clip one", 123),
        ("images\\dive1\\frame12.jpg", "images/dive1/frame", 12),
        ("images/vid_frame_12_jpg.rf.0af3.jpg", "vid_frame", 12),
        ("clip/img-7.png", "clip/img", 7),
    ],
)
def test_number_of_a_frame(name, sequence, number):
    """The folder and the beginning of the name are the sequence."""
    assert moments(name, "other/9.png", "other/10.png")[0] == (sequence, number, True)


@pytest.mark.parametrize(
    "names",
    [
        ["reef-001.png", "reef-002.png"],
        ["images/000001.jpg", "images/000002.jpg"],
        ["267b797f-b7da-43e4-b71d-cd14c84ca441.png", "80c29372-d02f-42ac-ad25-a37f8dad2682.png"],
        ["a.png", "b.png"],
        ["99999999999999999999999.png", ".png"],
        ["", "/"],
        ["frame_12_99_99_99.png" * 3, "20161399T990000.png"],
    ],
)
def test_numbers_alone_are_no_frames(names):
    """A split by sequence must not take a whole dataset for one sequence, nor each hash for a sequence of its own."""
    urls = ["", "http://[bad/1.png"]
    assert [sequence for sequence, _, _ in moments(*names)] == [None, None]
    assert [sequence for sequence, _, _ in moments(*names, urls=urls)] == [None, None]


def test_public_collections_are_no_sequences():
    """The numbers of COCO's own images are drawn by chance."""
    urls = [f"http://images.cocodataset.org/train2017/{number:012}.jpg" for number in (9, 25)]
    assert [sequence for sequence, _, _ in moments("a", "b", urls=urls)] == [None, None]
