"""Pictures that do not compress: what a benchmark needs, as many as it needs, in a second or two a gigabyte."""

from __future__ import annotations

import json
import os
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, HEIGHT = 1920, 1080  # 2.07 MB each, as the mean picture of Fathom24


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
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        name = f"{number:06}.png"
        path = folder / "images" / name
        if not path.exists():
            path.write_bytes(png(WIDTH, HEIGHT))
        rows.append(
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, "coco_url": f"{address}/images/{name}"}
        )
    (folder / "list.json").write_text(json.dumps({"images": rows, "annotations": [], "categories": []}))
