"""Draw the data of the tutorial: small photos of six sites with a COCO file, and the mistakes of real data.

Usage: ``python examples/tutorial_data.py DIR``. The folder must not exist yet.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SIZE = (96, 64)
COLOURS = {"coral": (230, 120, 90), "海星": (250, 210, 60)}
FOLDERS = ("Site A", "Site B", "Риф 1", "Риф 2", "珊瑚", "Bay")
PER_FOLDER = 6
_GPS = 0x8825  # the EXIF tag of a position
_POSITION = {1: "N", 2: (55.0, 56.0, 0.0), 3: "W", 4: (3.0, 11.0, 0.0)}


def draw(folder: Path) -> None:
    """Draw the photos, and write ``annotations.json`` beside them."""
    rows: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    chance = random.Random(7)
    for number, place in enumerate(FOLDERS):
        for shot in range(PER_FOLDER):
            image_id = len(rows["images"]) + 1
            name = f"{place}/photo {shot + 1}.jpg"
            rows["images"].append({"id": image_id, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
            boxes = _draw_photo(folder / "photos" / name, number, chance)
            rows["annotations"] += [{**box, "image_id": image_id, "iscrowd": 0} for box in boxes]
    rows["annotations"].append({"image_id": 1, "category_id": 1, "bbox": [200, 10, 20, 20], "area": 400, "iscrowd": 0})
    for number, row in enumerate(rows["annotations"], start=1):
        row["id"] = number
    categories = [{"id": number, "name": name} for number, name in enumerate(COLOURS, start=1)]
    content = json.dumps({**rows, "categories": categories}, ensure_ascii=False)
    (folder / "annotations.json").write_text(content, encoding="utf-8")
    (folder / "photos" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")


def _draw_photo(path: Path, place: int, chance: random.Random) -> list[dict[str, Any]]:
    """Draw a photo with two or three animals on a noisy background; return their boxes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = bytes(chance.randrange(40) for _ in range(SIZE[0] * SIZE[1] * 3))
    image = Image.blend(Image.frombytes("RGB", SIZE, noise), Image.new("RGB", SIZE, (10, 60 + 20 * place, 120)), 0.7)
    pen, boxes = ImageDraw.Draw(image), []
    for _ in range(chance.choice((2, 3))):
        category = chance.randrange(len(COLOURS))
        width, height = chance.randrange(14, 28), chance.randrange(14, 28)
        x, y = chance.randrange(SIZE[0] - width), chance.randrange(SIZE[1] - height)
        pen.ellipse((x, y, x + width - 1, y + height - 1), fill=list(COLOURS.values())[category])
        boxes.append({"category_id": category + 1, "bbox": [x, y, width, height], "area": width * height})
    exif = Image.Exif()
    if path.name == "photo 1.jpg":
        exif[_GPS] = _POSITION
    image.save(path, quality=90, exif=exif)
    return boxes


if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("usage: python examples/tutorial_data.py DIR (a folder that does not exist yet)")
    draw(Path(sys.argv[1]))
