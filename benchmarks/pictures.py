"""Pictures, as many as a benchmark needs: of noise, made in a second or two a gigabyte, and such as a camera makes."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, HEIGHT = 1920, 1080  # 2.07 MB each, as the mean picture of Fathom24
PHOTOGRAPHS = 32  # different ones: each takes a second to make


def png(width: int, height: int, randbytes: Callable[[int], bytes] = os.urandom, more: float = 0) -> bytes:
    """Return a grey PNG of random pixels, stored without compression; ``more`` bytes a pixel fill a private chunk."""
    noise = randbytes(width * height)
    rows = b"".join(b"\0" + noise[at : at + width] for at in range(0, len(noise), width))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 0)),
        *([(b"moRe", randbytes(int(more * width * height)))] if more else []),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_pictures(folder: Path, count: int, address: str) -> None:
    """Write ``count`` pictures into ``folder/images`` and ``folder/list.json``, a COCO file that names them by URL."""
    for path in _paths(folder, count, address):
        if not path.exists():
            path.write_bytes(png(WIDTH, HEIGHT))


def write_photographs(folder: Path, count: int, address: str) -> None:
    """Write pictures likewise that look and decode as photographs do; after `PHOTOGRAPHS` they are copies."""
    paths = _paths(folder, count, address)
    with ThreadPoolExecutor() as pool:
        list(pool.map(_photograph, paths[:PHOTOGRAPHS], range(count)))
    for number, path in enumerate(paths[PHOTOGRAPHS:]):
        shutil.copy(paths[number % PHOTOGRAPHS], path)


def _paths(folder: Path, count: int, address: str) -> list[Path]:
    """Write the COCO file, in which each picture has two boxes; return where the pictures are to be."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    paths = [images / f"{number:06}.png" for number in range(count)]
    size = {"width": WIDTH, "height": HEIGHT}
    rows = [
        {"id": number, "file_name": path.name, "coco_url": f"{address}/images/{path.name}", **size}
        for number, path in enumerate(paths)
    ]
    boxes = [
        {
            "id": number,
            "image_id": number // 2,
            "category_id": 1,
            "bbox": [200 + number % 2, 100, 400, 300],
            "area": 12e4,
        }
        for number in range(2 * count)
    ]
    content = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "list.json").write_text(json.dumps(content))
    return paths


def _photograph(path: Path, seed: int) -> None:
    """Write a PNG of soft shapes, texture and the noise of a sensor: 2.1 MB, about 45 ms to decode."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(seed)
    pixels = 128 + draw.normal(0, 0.9, (HEIGHT, WIDTH, 1))
    for rows, columns, contrast in ((17, 30, 90), (135, 240, 6)):
        coarse = Image.fromarray(draw.integers(0, 256, (rows, columns, 3), np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        pixels = pixels + (smooth / 255 - 0.5) * contrast
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
