"""Bags with COCO files, and what datapack finds in them."""

import json
from collections.abc import Mapping
from pathlib import Path

from datapack.bag.bagit import Bag
from datapack.inspect.check import check
from datapack.inspect.findings import Finding
from datapack.inspect.model import Coco, Survey
from datapack.inspect.survey import survey
from datapack.progress import Silent
from tests.bags import write_bag
from tests.servers import png

CATEGORIES = [{"id": 1, "name": "crab"}, {"id": 2, "name": "fish"}]


def image_row(number: int, name: str | None = None, **more: object) -> dict[str, object]:
    """Return a row of ``images``: 80 x 60 pixels unless ``more`` says otherwise."""
    return {"id": number, "file_name": name or f"{number}.png", "width": 80, "height": 60, **more}


def box_row(number: int, image: int, box: object = (10, 10, 20, 20), **more: object) -> dict[str, object]:
    """Return a row of ``annotations``."""
    box = list(box) if isinstance(box, tuple) else box
    return {"id": number, "image_id": image, "category_id": 1 + number % 2, "bbox": box, "iscrowd": 0, **more}


def coco_file(images: object, boxes: object = None, categories: object = CATEGORIES, **more: object) -> bytes:
    """Return a COCO file."""
    lists = {"images": images, "annotations": boxes, "categories": categories, **more}
    return json.dumps({key: value for key, value in lists.items() if value is not None}).encode()


def picture(number: int, width: int = 80, height: int = 60) -> bytes:
    """Return an image that differs from those of other numbers."""
    return png(width, height, number)


def open_bag(folder: Path, files: Mapping[str, bytes]) -> Bag:
    """Write a bag and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bag(folder, files)
    return Bag.open(folder)


def look(folder: Path, files: Mapping[str, bytes], **options: object) -> Survey:
    """Write a bag and survey it."""
    return survey(open_bag(folder, files), Silent(), **options)


def read(folder: Path, files: Mapping[str, bytes], **options: object) -> Coco:
    """Write a bag with one COCO file, and return what was read of it."""
    (coco,) = look(folder, files, **options).cocos
    return coco


def find(folder: Path, files: Mapping[str, bytes], **options: object) -> dict[str, Finding]:
    """Write a bag, and return what the checks find in it, by code."""
    found = check(look(folder, files, **options))
    assert [finding.rule.code for finding in found] == sorted({finding.rule.code for finding in found})
    return {finding.rule.code: finding for finding in found}
