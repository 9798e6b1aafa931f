"""Surveys and heads of reports, made by hand, so that a test says exactly what is in them."""

from __future__ import annotations

import hashlib
from html.parser import HTMLParser

import numpy as np

from datapack.bag.bagit import PayloadFile
from datapack.inspect.findings import Finding, Rule
from datapack.inspect.model import Category, Coco, ImageFile, Survey, Table
from datapack.page.cells import Listing, code, name
from datapack.report.page import Head, make_page
from datapack.report.samples import Shown

DIGEST = f"sha256:{'ab' * 32}"
EVIL = "<script>alert('x')</script>\" onload=\"y & <img src=http://example.org/z>\x1b[2J\u202egnp"
EMPTY = Listing("none", ("a", "b"), [])
NO_SAMPLES = Shown((), "the dataset is private", 0, 0)
RULE = Rule("DP311", "error", "boxes outside their image", "Training fails.", "Leave them out.")


class Page(HTMLParser):
    """A page as a browser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.html, self.tags, self.attributes, self.words, self._open = text, [], [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag in {"script", "style"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if self._open[-1:] == [tag]:
            self._open.pop()

    def handle_data(self, data):
        if not self._open:
            self.words.append(data)

    def values(self, name: str, tag: str = "") -> list[str]:
        return [value for where, key, value in self.attributes if key == name and tag in {"", where}]


def a_file(path: str, size: int = 10, content: str = "") -> PayloadFile:
    return PayloadFile(path, size, hashlib.sha256((content or path).encode()).hexdigest())


def a_coco(
    path: str = "train.json",
    images: dict[str, tuple[int, int]] | None = None,
    boxes: list[tuple[int, int, tuple[float, float, float, float]]] | None = None,
    categories: tuple[str, ...] = ("fish", "crab"),
    sequences: list[str] | None = None,
    **changes,
) -> Coco:
    """Make a COCO file: images by name with their sizes; boxes with the numbers of their image and category."""
    images = {"1.png": (800, 800), "2.png": (800, 800)} if images is None else images
    boxes = [(0, 0, (10, 10, 100, 100))] if boxes is None else boxes
    named = tuple(dict.fromkeys(sequences or ()))
    count = len(images)
    values = {
        "path": path,
        "names": tuple(images),
        "images": tuple(f"images/{image}" for image in images),
        "ids": np.arange(count),
        "sizes": np.array(list(images.values()), np.int64).reshape(count, 2),
        "sequences": np.array([named.index(each) for each in sequences or ()] or [-1] * count, np.int64),
        "sequence_names": named,
        "times": np.full(count, np.nan),
        "owners": np.array([owner for owner, _, _ in boxes], np.int64),
        "labels": np.array([label for _, label, _ in boxes], np.int64),
        "boxes": np.array([box for _, _, box in boxes], float).reshape(len(boxes), 4),
        "crowd": np.zeros(len(boxes), bool),
        "rows": np.arange(len(boxes)),
        "categories": tuple(Category(number, label) for number, label in enumerate(categories)),
    }
    return Coco(**{**values, **changes})


def a_survey(*cocos: Coco, tables: tuple[Table, ...] = (), files: tuple[PayloadFile, ...] = ()) -> Survey:
    """Make a survey of COCO files with all their images, of tables, and of other files."""
    sizes = {
        path: tuple(size) for coco in cocos for path, size in zip(coco.images, coco.sizes.tolist(), strict=True) if path
    }
    images = tuple(ImageFile(path, "PNG", *sizes[path]) for path in sorted(sizes))
    every = [*files, *(a_file(one.path) for one in (*cocos, *images, *tables))]
    return Survey(DIGEST, {file.path: file for file in sorted(every)}, images, cocos, tables, {})


def a_head(**changes) -> Head:
    values = {
        "title": "A small reef",
        "reference": "reef@v1",
        "digest": DIGEST,
        "private": False,
        "about": [("Version", name("reef@v1")), ("Dataset digest", code(DIGEST))],
        "warning": "",
        "sources": EMPTY,
        "hosts": EMPTY,
        "since": None,
        "image": None,
        "missing": EMPTY,
        "missing_reasons": "",
    }
    return Head(**{**values, **changes})


def a_page(survey: Survey, findings: tuple[Finding, ...] = (), shown: Shown = NO_SAMPLES, **head) -> Page:
    return Page(make_page(a_head(**head), survey, findings, shown, deep=False))
