"""Draw the reef: 72 images of four kinds of sea animals, and their COCO file.

    python examples/reef/draw.py

writes images/, train.json and contact-sheet.png beside this script. The script draws the same images on every machine:
each image has its own seed, and every pixel comes from plain arithmetic in numpy. Pillow only writes the PNG files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from animals import ANIMALS, LEAN, Dice, ellipse, moved, ribbon, shade
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    Colour = tuple[float, float, float]

FOLDER = Path(__file__).parent
SEED = 2024
IMAGES = 72
EMPTY_EVERY = 9  # every ninth image has no animal, as in real data
SIZES = ((192, 144), (160, 160), (240, 160))  # width and height in pixels
SMALLEST, LARGEST = 15.0, 34.0  # an animal's radius in pixels
FINE = 4  # samples per pixel along each side
GAP = 3  # pixels between the boxes of two animals


@dataclass(frozen=True)
class Animal:
    """A drawn animal: its category, and the pixels of which it covers at least half."""

    category: str
    mask: Mask

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The smallest box around the mask: x, y, width, height."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1

    @property
    def area(self) -> int:
        return int(self.mask.sum())


def coverage(outline: Array, width: int, height: int) -> tuple[slice, slice, Array]:
    """Return the rows and columns that an outline touches, and the share of each pixel there that it covers."""
    (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
    top, bottom = (min(max(y, 0), height) for y in (math.floor(y0), math.ceil(y1)))
    left, right = (min(max(x, 0), width) for x in (math.floor(x0), math.ceil(x1)))
    rows, columns, down, across = slice(top, bottom), slice(left, right), bottom - top, right - left
    y = rows.start + (np.arange(down * FINE) + 0.5) / FINE
    x = columns.start + (np.arange(across * FINE) + 0.5) / FINE
    winding = np.zeros((down * FINE, across * FINE), dtype=np.int8)
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        crossed = np.flatnonzero((ay <= y) != (by <= y))
        if crossed.size:
            at = ax + (y[crossed] - ay) * (bx - ax) / (by - ay)
            winding[crossed] += np.where(x[None, :] < at[:, None], 1 if ay < by else -1, 0).astype(np.int8)
    inside = (winding != 0).reshape(down, FINE, across, FINE)
    return rows, columns, inside.mean(axis=(1, 3))


def paint(pixels: Array, outline: Array, colour: Colour, opacity: float = 1.0) -> Mask:
    """Fill an outline in an image; return the pixels of which it covers at least half."""
    height, width, _ = pixels.shape
    rows, columns, share = coverage(outline, width, height)
    weight = (share * opacity)[:, :, None]
    pixels[rows, columns] = pixels[rows, columns] * (1 - weight) + np.array(colour) * weight
    mask = np.zeros((height, width), dtype=bool)
    mask[rows, columns] = share >= 0.5
    return mask


# The sea around them


def soft_noise(dice: Dice, width: int, height: int, cell: int) -> Array:
    """Return smooth noise between -1 and 1 that varies over ``cell`` pixels."""
    grid = 2 * dice.random.random((height // cell + 2, width // cell + 2)) - 1

    def steps(length: int) -> tuple[np.ndarray, Array]:
        at = np.arange(length) / cell
        whole = at.astype(int)
        part = at - whole
        return whole, part * part * (3 - 2 * part)

    (row, down), (column, across) = steps(height), steps(width)
    corners = [[grid[row + i][:, column + j] for j in (0, 1)] for i in (0, 1)]
    top, bottom = (left * (1 - across) + right * across for left, right in corners)
    return np.asarray(top * (1 - down[:, None]) + bottom * down[:, None])


WATERS: list[tuple[Colour, Colour]] = [  # at the top and at the bottom
    ((64, 156, 196), (14, 52, 98)),
    ((46, 142, 160), (8, 48, 72)),
    ((38, 100, 170), (10, 26, 72)),
    ((84, 168, 176), (22, 74, 92)),
]
SANDS: list[Colour] = [(176, 158, 122), (150, 142, 118), (126, 132, 120)]
WEEDS: list[Colour] = [(34, 92, 74), (52, 104, 60), (96, 60, 84)]


def water(dice: Dice, width: int, height: int) -> Array:
    """Paint water that is darker below, cloudy, with rays of light from above."""
    top, bottom = WATERS[dice.count(0, len(WATERS) - 1)]
    depth = (np.arange(height) / (height - 1))[:, None, None]
    pixels = np.array(top) * (1 - depth) + np.array(bottom) * depth + np.zeros((height, width, 3))
    pixels += (10 * soft_noise(dice, width, height, 48))[:, :, None] * np.array([0.6, 1.0, 1.0])
    light = pixels.copy()
    for _ in range(dice.count(1, 3)):
        x, lean, wide = dice.between(0, width), dice.between(-60, 60), dice.between(8, 24)
        for spread in (1.0, 0.6):
            above = [(x - wide * spread / 2, -1), (x + wide * spread / 2, -1)]
            below = [(x + lean + wide * spread * 1.8, height + 1), (x + lean - wide * spread * 1.8, height + 1)]
            paint(light, np.array(above + below), (190, 232, 236), 0.12)
    fade = (1 - depth) * (1 - depth)
    return pixels * (1 - fade) + light * fade


def seabed(dice: Dice, pixels: Array) -> None:
    """Paint sand with ripples at the bottom, and stones on it."""
    height, width, _ = pixels.shape
    sand = dice.one_of(SANDS)
    crest = height * dice.between(0.72, 0.86) + 5 * soft_noise(dice, width, 1, 40)[0]
    depth = np.arange(height)[:, None] - crest[None, :]
    ripples = soft_noise(dice, width, height * 3, 12)[::3]
    colour = np.array(sand) * (0.62 + 0.05 * ripples + 0.003 * depth)[:, :, None]
    share = np.clip(depth / 3 + 0.5, 0, 1)[:, :, None] * 0.85
    pixels[:] = pixels * (1 - share) + colour * share
    for _ in range(dice.count(0, 3)):
        x, y, size = dice.between(0, width), height * dice.between(0.84, 1.0), dice.between(4, 11)
        stone = ellipse(0, 0, size * 1.5, size, 18) * np.array([[dice.between(0.86, 1.12)] for _ in range(18)])
        paint(pixels, moved(stone, x, y), shade(sand, 0.36))
        paint(pixels, moved(stone, x - size * 0.1, y - size * 0.16, 0.82), shade(sand, 0.48))


def weeds(dice: Dice, pixels: Array) -> None:
    """Paint a few swaying weeds that grow from the bottom."""
    height, width, _ = pixels.shape
    for _ in range(dice.count(1, 3)):
        root, colour = dice.between(0, width), dice.one_of(WEEDS)
        for _ in range(dice.count(2, 4)):
            x, tall = root + dice.between(-9, 9), height * dice.between(0.2, 0.5)
            sway, phase = dice.between(2, 6), dice.between(0, 6.28)
            line = [
                (x + sway * t * math.sin(5 * t + phase), height + 2 - tall * t) for t in (k / 16 for k in range(17))
            ]
            paint(pixels, ribbon(line, 4.5, 1.2), colour, 0.72)


def specks(dice: Dice, pixels: Array) -> None:
    """Paint drifting particles: marine snow, and sometimes bubbles."""
    height, width, _ = pixels.shape
    for _ in range(dice.count(12, 30)):
        size = dice.between(0.4, 1.1)
        paint(pixels, ellipse(dice.between(0, width), dice.between(0, height), size, size, 10), (214, 232, 230), 0.5)
    for _ in range(dice.count(0, 6)):
        x, y, size = dice.between(0, width), dice.between(0, height * 0.8), dice.between(1.5, 3.2)
        paint(pixels, ellipse(x, y, size, size, 20), (196, 232, 240), 0.35)
        paint(pixels, ellipse(x - size * 0.3, y - size * 0.3, size * 0.35, size * 0.35, 10), (250, 255, 255), 0.8)


# Images


@dataclass
class Scene:
    """An image being drawn, and the animals in it."""

    pixels: Array
    animals: list[Animal] = field(default_factory=list)

    def place(self, dice: Dice, category: str) -> None:
        """Draw an animal at a free position; skip it if none is found."""
        height, width, _ = self.pixels.shape
        lean = LEAN[category]
        parts, turn, mirror = list(ANIMALS[category](dice)), dice.between(-lean, lean), dice.count(0, 1) == 1
        for _ in range(40):
            radius = dice.between(SMALLEST, LARGEST)
            x, y = (dice.between(radius + 1, side - radius - 1) for side in (width, height))
            outlines = [moved(part.outline, x, y, radius, turn, mirror) for part in parts]
            if self._is_free(np.concatenate(outlines)):
                masks = [
                    paint(self.pixels, outline, part.colour, part.opacity)
                    for outline, part in zip(outlines, parts, strict=True)
                ]
                self.animals.append(Animal(category, np.logical_or.reduce(masks)))
                return

    def _is_free(self, points: Array) -> bool:
        (x0, y0), (x1, y1) = points.min(axis=0) - GAP, points.max(axis=0) + GAP
        height, width, _ = self.pixels.shape
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            return False
        boxes = (animal.box for animal in self.animals)
        return all(x1 < x or x0 > x + wide or y1 < y or y0 > y + high for x, y, wide, high in boxes)


def draw(number: int) -> tuple[Image.Image, list[Animal]]:
    """Draw one image; the same number always gives the same image."""
    dice = Dice(np.random.default_rng([SEED, number]))
    width, height = SIZES[number % len(SIZES)]
    scene = Scene(water(dice, width, height))
    if dice.between(0, 1) < 0.6:
        seabed(dice, scene.pixels)
    if dice.between(0, 1) < 0.55:
        weeds(dice, scene.pixels)
    categories = list(ANIMALS)
    for n in range(0 if number % EMPTY_EVERY == 0 else dice.count(1, 5)):
        scene.place(dice, categories[(number + n * dice.count(1, 3)) % len(categories)])
    specks(dice, scene.pixels)
    noise = 3 * dice.random.integers(-1, 2, (height, width, 1))
    pixels = np.clip(np.rint(scene.pixels) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels), scene.animals


def name(number: int) -> str:
    """Return the file name of an image."""
    return f"reef-{number:03}.png"


def coco(drawn: dict[int, tuple[Image.Image, list[Animal]]]) -> str:
    """Write the COCO file of the images and their animals; the same images give the same text."""
    categories = {category: number for number, category in enumerate(ANIMALS, start=1)}
    found = [(number, animal) for number, (_, animals) in drawn.items() for animal in animals]
    rows = {
        "images": [
            {
                "id": number,
                "file_name": name(number),
                "width": image.width,
                "height": image.height,
                "license": 1,
                "date_captured": "2026-01-01 00:00:00",
            }
            for number, (image, _) in drawn.items()
        ],
        "annotations": [
            {
                "id": n,
                "image_id": number,
                "category_id": categories[animal.category],
                "bbox": [float(side) for side in animal.box],
                "area": float(animal.area),
                "segmentation": [],
                "iscrowd": 0,
            }
            for n, (number, animal) in enumerate(found, start=1)
        ],
        "categories": [{"id": n, "name": name, "supercategory": "animal"} for name, n in categories.items()],
    }
    licence = {"id": 1, "name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}
    info = {"description": "Drawn animals of a reef", "version": "1", "year": 2026, "date_created": "2026-01-01"}
    lists = {"licenses": [licence], **rows}
    parts = [f'"{key}": [\n' + ",\n".join(map(json.dumps, values)) + "\n]" for key, values in lists.items()]
    return "{\n" + ",\n".join([f'"info": {json.dumps(info)}', *parts]) + "\n}\n"


def contact_sheet(images: Sequence[Image.Image], across: int = 4) -> Image.Image:
    """Arrange images of one size in a grid, scaled down and with fewer colours to keep the file small."""
    wide, high, edge = images[0].width * 3 // 4, images[0].height * 3 // 4, 6
    down = -(-len(images) // across)
    sheet = Image.new("RGB", (across * (wide + edge) + edge, down * (high + edge) + edge), (255, 255, 255))
    for n, image in enumerate(images):
        row, column = divmod(n, across)
        sheet.paste(image.resize((wide, high)), (edge + column * (wide + edge), edge + row * (high + edge)))
    return ImageOps.posterize(sheet, 6)


def main() -> None:
    """Draw all files beside this script."""
    drawn = {number: draw(number) for number in range(1, IMAGES + 1)}
    (FOLDER / "images").mkdir(exist_ok=True)
    for number, (image, _) in drawn.items():
        image.save(FOLDER / "images" / name(number), optimize=True)
    (FOLDER / "train.json").write_text(coco(drawn))
    shown = [image for image, animals in drawn.values() if image.size == SIZES[0] and len(animals) > 1]
    contact_sheet(shown[:12]).save(FOLDER / "contact-sheet.png", optimize=True)
    print(f"{len(drawn)} images, {sum(len(animals) for _, animals in drawn.values())} animals")


if __name__ == "__main__":
    main()
