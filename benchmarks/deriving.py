"""Take 1,000 of 10,744 images of a bag of the form of Fathom24: rows, sizes and boxes like its, but small files."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import UUID

from benchmarks.images import png
from benchmarks.measure import Contender, compare, remove, run
from benchmarks.workplace import DATAPACK, PROJECT
from examples.stand_in_base import build as build_stand_in_base

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTS = {"train": 8058, "eval": 2686}
CHOSEN = 1000
BOXES, CATEGORIES = 4.6, 18  # boxes of an image on average
FRAMES = 25  # images of a dive
SIZES = ((48, 27), (48, 27), (36, 24))  # of two kinds, as in Fathom24
CATALOG = """\
defaults: {base: "oci:base", connections: 5}
datasets:
  sea:
    title: Drawn like Fathom24
    licence: CC0-1.0
    versions:
      whole: {sources: [{local: source}]}
      some: {sources: [{subset: sea@whole, count: COUNT}]}
      parts: {sources: [{split: sea@whole, coco: train.json, ratios: {train: 0.8, val: 0.1, test: 0.1}}]}
"""
SCRIPT = """\
import json, random, shutil
from pathlib import Path
source, target = Path("data/sea/whole/data"), Path("copied")
lists = {name: json.loads((source / name).read_text()) for name in ("train.json", "eval.json")}
images = [(name, row) for name, whole in lists.items() for row in whole["images"]]
chosen = random.Random(0).sample(images, COUNT)
for name, whole in lists.items():
    rows = [row for other, row in chosen if other == name]
    ids = {row["id"] for row in rows}
    boxes = [row for row in whole.get("annotations", []) if row["image_id"] in ids]
    folder = target / "images" / name.removesuffix(".json")
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        shutil.copy(source / "images" / folder.name / row["file_name"], folder)
    (target / name).write_text(json.dumps({**whole, "images": rows, "annotations": boxes}))
"""


def bench(count: int, repeats: int) -> None:
    """Compare ``datapack fetch`` of a subset and of a split with a script that copies files and nothing else."""
    del count  # the claim is about the number of images that Fathom24 has
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        root = Path(folder)
        write_sea(root)
        run(Contender("fetch", [*DATAPACK, "fetch", "sea@whole"], cwd=root, env=PROJECT))
        script = SCRIPT.replace("COUNT", str(CHOSEN))
        copy = Contender("a script that copies", [sys.executable, "-c", script], lambda: _forget(root), root)
        for version, what in (("some", f"Take {CHOSEN:,} of"), ("parts", "Split train.json of")):
            fetch = [*DATAPACK, "fetch", f"sea@{version}"]
            ours = Contender("datapack fetch (linked, in DVC)", fetch, lambda: _forget(root), root, PROJECT)
            compare(f"{what} {sum(LISTS.values()):,} images: under 2 s", ours, [(copy, "for comparison")], repeats)


def _forget(root: Path) -> None:
    for version in ("some", "parts"):
        remove(root / "data/sea" / version)
        remove(root / "data/sea" / f"{version}.dvc")
    remove(root / "copied")
    lock = root / "datasets.lock"
    lock.write_text("".join(_entries(lock.read_text())))


def _entries(lock: str) -> Iterator[str]:
    """Yield the lines of a lock without the derived versions."""
    keep = True
    for line in lock.splitlines(keepends=True):
        keep = line.startswith("sea@whole") if line.startswith("sea@") else keep
        if keep:
            yield line


def write_sea(root: Path) -> None:
    """Write the catalog and the source of ``sea``."""
    (root / "datasets.yml").write_text(CATALOG.replace("COUNT", str(CHOSEN)))
    build_stand_in_base(root / "base")
    chance = random.Random(24)
    first = 0
    for name, number in LISTS.items():
        images, boxes = _rows(chance, first, number)
        first += number
        folder = root / "source/images" / name
        folder.mkdir(parents=True)
        for row in images:
            content = png(int(str(row["width"])), int(str(row["height"])), chance.randbytes)
            (folder / str(row["file_name"])).write_bytes(content)
        whole = {"info": {"version": "0"}, "images": images, "licenses": []}
        if name == "train":
            categories = [{"id": at, "name": f"animal {at}"} for at in range(1, CATEGORIES + 1)]
            whole |= {"annotations": boxes, "categories": categories}
        (root / "source" / f"{name}.json").write_text(json.dumps(whole, indent=2))


def _rows(chance: random.Random, first: int, number: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return rows like those of Fathom24: its ids, URLs, sizes, and numbers of boxes."""
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for at in range(number):
        width, height = chance.choice(SIZES)
        dive, frame = divmod(at, FRAMES)
        where = f"Doc%20Ricketts/images/{first + dive:04}/{frame // 60:02}_{frame % 60:02}_19_06.png"
        url = f"https://fathomnet.org/static/m3/staging/{where}"
        row = {
            "id": 3 * (first + at),
            "width": width,
            "height": height,
            "file_name": f"{UUID(int=chance.getrandbits(128))}.png",
        }
        images.append({**row, "license": 0, "flickr_url": url, "coco_url": url, "date_captured": "2016-06-16 00:00:00"})
        for _ in range(min(198, int(chance.expovariate(1 / BOXES)))):
            category = min(CATEGORIES, 1 + int(chance.expovariate(0.3)))
            box = {"id": len(boxes) + 1, "image_id": row["id"], "category_id": category, "segmentation": []}
            left, top = float(chance.randrange(24)), float(chance.randrange(15))
            boxes.append({**box, "area": 108.0, "bbox": [left, top, 12.0, 9.0], "iscrowd": 0})
    return images, boxes
