"""Images for the benchmarks: noise, which takes a second or two per gigabyte to make, and photo-like images."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, HEIGHT = 1920, 1080  # 2.07 MB each, the mean size in Fathom24
PHOTOS = 32  # different ones, as each takes a second to make


def png(width: int, height: int, randbytes: Callable[[int], bytes] = os.urandom, more: float = 0) -> bytes:
    """Return an uncompressed grey PNG of random pixels; a private chunk has ``more`` bytes per pixel."""
    noise = randbytes(width * height)
    rows = b"".join(b"\0" + noise[at : at + width] for at in range(0, len(noise), width))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 0)),
        *([(b"moRe", randbytes(int(more * width * height)))] if more else []),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write_images(folder: Path, count: int, url: str) -> None:
    """Write ``count`` images to ``folder/images``, and ``folder/list.json``, a COCO file with their URLs."""
    for path in _paths(folder, count, url):
        if not path.exists():
            path.write_bytes(png(WIDTH, HEIGHT))


def write_photos(folder: Path, count: int, url: str) -> None:
    """Write images that look and decode like photos in the same way; after `PHOTOS` of them, they are copies."""
    paths = _paths(folder, count, url)
    with ProcessPoolExecutor() as pool:  # the memory of this process would count as its children's peak
        list(pool.map(_photo, paths[:PHOTOS], range(count)))
    for number, path in enumerate(paths[PHOTOS:]):
        shutil.copy(paths[number % PHOTOS], path)


def _paths(folder: Path, count: int, url: str) -> list[Path]:
    """Write the COCO file, which has two boxes per image; return the paths of the images."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    paths = [images / f"{number:06}.png" for number in range(count)]
    size = {"width": WIDTH, "height": HEIGHT}
    rows = [
        {"id": number, "file_name": path.name, "coco_url": f"{url}/images/{path.name}", **size}
        for number, path in enumerate(paths)
    ]
    boxes = [
        {
            "id": number,
            "image_id": number // 2,
            "category_id": 1,
            "bbox": [200 + number % 2, 100, 400, 300],
            "area": 12e4,
            "iscrowd": 0,
        }
        for number in range(2 * count)
    ]
    content = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "list.json").write_text(json.dumps(content))
    return paths


def _photo(path: Path, seed: int) -> None:
    """Write a PNG with soft shapes, texture and sensor noise: 2.1 MB, about 45 ms to decode."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(seed)
    pixels = 128 + draw.standard_normal((HEIGHT, WIDTH, 1), np.float32) * np.float32(0.9)
    for rows, columns, contrast in ((17, 30, 90), (135, 240, 6)):
        coarse = Image.fromarray(draw.integers(0, 256, (rows, columns, 3), np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        pixels = pixels + (smooth / 255 - 0.5) * contrast
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
