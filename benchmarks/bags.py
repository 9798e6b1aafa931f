"""Bags for the benchmarks of the trainers: the reef, and photo-like images."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.images import write_photos
from datapack.bag.listing import list_payload
from datapack.bag.manifest import MANIFEST, Manifest
from datapack.hashing import hash_files

REEF = Path(__file__).parents[1] / "examples" / "reef"


def reef_bag(bag: Path) -> Path:
    """Make a bag from the example."""
    shutil.copytree(REEF / "images", bag / "data" / "images")
    shutil.copy(REEF / "train.json", bag / "data")
    return _with_manifest(bag)


def photo_bag(bag: Path, count: int) -> Path:
    """Make a bag of photo-like images, 1920 x 1080, with two boxes each."""
    write_photos(bag / "data", count, "http://localhost")
    return _with_manifest(bag)


def _with_manifest(bag: Path) -> Path:
    paths = list_payload(bag).files
    (bag / MANIFEST).write_bytes(Manifest.of(dict(hash_files(bag, paths))).content)
    return bag
