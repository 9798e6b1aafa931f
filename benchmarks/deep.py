"""Decode every image: ``datapack check --deep``, and a loop of Pillow and imagehash in as many processes.

The loop is what people write today: a perceptual hash of each image, and nothing else. ``check`` also reads headers and
metadata, measures sharpness, brightness and contrast, and compares all hashes.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.images import write_photos
from benchmarks.measure import Contender, compare, run
from benchmarks.workplace import DATAPACK, PROJECT

CATALOG = """\
defaults: {base: "oci:base", registry: ghcr.io/example, connections: 5}
datasets:
  photos:
    title: Photos
    licence: CC0-1.0
    versions:
      png: {sources: [{local: photos/images}]}
      jpeg: {sources: [{local: jpegs}]}
"""


def bench(count: int, repeats: int) -> None:
    """Compare both for PNGs and for JPEGs."""
    with TemporaryDirectory(prefix="datapack-bench-") as folder:
        root = Path(folder)
        write_photos(root / "photos", count, "http://localhost")
        with ProcessPoolExecutor() as pool:
            list(pool.map(_to_jpeg, sorted((root / "photos/images").iterdir()), [root / "jpegs"] * count, chunksize=16))
        (root / "datasets.yml").write_text(CATALOG)
        for form in ("png", "jpeg"):
            run(Contender("fetch", [*DATAPACK, "fetch", f"photos@{form}"], cwd=root, env=PROJECT))
            data = root / "data/photos" / form / "data"
            loop = [sys.executable, "-m", "benchmarks.deep", str(data)]
            compare(
                f"Decode {count} images of 1920 x 1080 pixels, {form.upper()}",
                Contender(
                    "datapack check --deep", [*DATAPACK, "check", f"photos@{form}", "--deep"], cwd=root, env=PROJECT
                ),
                [(Contender("Pillow + imagehash, a process per core", loop, env=PROJECT), "at least 1 x")],
                repeats,
            )


def _to_jpeg(path: Path, folder: Path) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    Image.open(path).save(folder / f"{path.stem}.jpg", quality=92)


def _hash(path: Path) -> str:
    import imagehash
    from PIL import Image

    return str(imagehash.phash(Image.open(path)))


if __name__ == "__main__":
    with ProcessPoolExecutor() as workers:
        print(len(set(workers.map(_hash, sorted(Path(sys.argv[1]).iterdir()), chunksize=8))))
