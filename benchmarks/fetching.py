"""Fetch images from a web server on this machine."""

from __future__ import annotations

import json
import sys

from benchmarks.measure import Contender, compare, remove
from benchmarks.workplace import PROJECT, Workplace, workplace

ARIA2C = "aria2c -q -j5 -x1 --file-allocation=none -d loot -i urls.txt"
FETCH_ONLY = (  # without DVC, which is a separate step
    "import sys; from datapack.fetch.dvc import tracking; tracking.add = lambda *_: '0' * 32 + '.dir';"
    "tracking.tracked_hash = lambda _: None;"
    "from datapack.cli import main; sys.exit(main(['fetch', 'noise@v1']))"
)


def bench(count: int, repeats: int) -> None:
    """Compare ``datapack fetch`` with ``aria2c`` with the same number of connections."""
    with workplace(count) as place:
        images = json.loads((place.root / "list.json").read_bytes())["images"]
        (place.root / "urls.txt").write_text("".join(f"{row['coco_url']}\n" for row in images))
        fetch = [sys.executable, "-c", FETCH_ONLY]
        compare(
            f"Fetch {count} images of 2 MB from a local nginx, 5 connections",
            Contender("datapack fetch (hashed, checked, synced)", fetch, lambda: _forget(place), place.root, PROJECT),
            [
                (Contender.shell("aria2c", ARIA2C, place.root, lambda: _forget(place)), "at least 1 x"),
                (
                    Contender.shell(
                        "aria2c, then sync", f"{ARIA2C} && sync -f loot", place.root, lambda: _forget(place)
                    ),
                    "at least 1 x",
                ),
            ],
            repeats,
        )


def _forget(place: Workplace) -> None:
    for name in ("data", ".datapack", "datasets.lock", "loot"):
        remove(place.root / name)
