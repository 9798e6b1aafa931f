"""Draw the reef: 72 pictures of four kinds of sea animals, and their COCO file.

    python examples/reef/draw.py

writes images/, train.json and contact-sheet.png beside this script. The same script draws the same pictures everywhere:
each has a seed of its own, and every pixel comes from plain arithmetic in numpy. Pillow only writes the PNG files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    Colour = tuple[float, float, float]

FOLDER = Path(__file__).parent
SEED = 2024
PICTURES = 72
EMPTY_EVERY = 9  # each ninth picture has no animal, as in real data
SIZES = ((192, 144), (160, 160), (240, 160))  # width and height in pixels
SMALLEST, LARGEST = 15.0, 34.0  # an animal's radius in pixels
FINE = 4  # samples a pixel, along each side
GAP = 3  # pixels between the boxes of two animals


@dataclass(frozen=True)
class Part:
    """A filled outline of an animal, in units of its radius, x to the right and y down."""

    outline: Array
    colour: Colour
    opacity: float = 1.0


@dataclass(frozen=True)
class Animal:
    """What was drawn: its category's name, and the pixels that it covers by at least half."""

    kind: str
    mask: Mask

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The smallest box around the mask: x, y, width, height."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1

    @property
    def area(self) -> int:
        return int(self.mask.sum())


# Outlines


def ellipse(x: float, y: float, width: float, height: float, points: int = 40) -> Array:
    """Outline an ellipse by its centre and its half axes."""
    turns = [2 * math.pi * n / points for n in range(points)]
    return np.array([(x + width * math.cos(turn), y + height * math.sin(turn)) for turn in turns])


def ribbon(line: Sequence[tuple[float, float]], start: float, end: float) -> Array:
    """Outline a line whose width goes from ``start`` to ``end``."""
    left, right = [], []
    for n, (x, y) in enumerate(line):
        (ax, ay), (bx, by) = line[max(n - 1, 0)], line[min(n + 1, len(line) - 1)]
        length = math.hypot(bx - ax, by - ay) or 1.0
        half = (start + (end - start) * n / (len(line) - 1)) / 2
        across = (-(by - ay) / length * half, (bx - ax) / length * half)
        left.append((x + across[0], y + across[1]))
        right.append((x - across[0], y - across[1]))
    return np.array(left + right[::-1])


def moved(outline: Array, x: float, y: float, scale: float = 1.0, turn: float = 0.0, mirror: bool = False) -> Array:
    """Turn an outline by ``turn`` radians, scale it, and move it."""
    sine, cosine = math.sin(turn), math.cos(turn)
    across = -outline[:, 0] if mirror else outline[:, 0]
    down = outline[:, 1]
    return np.stack([x + scale * (across * cosine - down * sine), y + scale * (across * sine + down * cosine)], axis=1)


def coverage(outline: Array, width: int, height: int) -> tuple[slice, slice, Array]:
    """Say how much of each pixel an outline covers: the rows and columns that it reaches, and the shares there."""
    (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
    rows = slice(max(math.floor(y0), 0), min(math.ceil(y1), height))
    columns = slice(max(math.floor(x0), 0), min(math.ceil(x1), width))
    down, across = max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)
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
    """Fill an outline in a picture; return the pixels that it covers by at least half."""
    height, width, _ = pixels.shape
    rows, columns, share = coverage(outline, width, height)
    weight = (share * opacity)[:, :, None]
    pixels[rows, columns] = pixels[rows, columns] * (1 - weight) + np.array(colour) * weight
    mask = np.zeros((height, width), dtype=bool)
    mask[rows, columns] = share >= 0.5
    return mask


# Animals: each gives its parts, the lowest first


def shade(colour: Colour, by: float) -> Colour:
    """Make a colour lighter (above 1) or darker (below 1)."""
    red, green, blue = (min(255.0, part * by) for part in colour)
    return red, green, blue


@dataclass(frozen=True)
class Dice:
    """Chance, from one seed."""

    random: np.random.Generator

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.random.random())

    def count(self, low: int, high: int) -> int:
        """Give a whole number, both ends included."""
        return int(self.random.integers(low, high + 1))

    def one_of(self, colours: Sequence[Colour]) -> Colour:
        """Pick a colour, and change it a little."""
        red, green, blue = colours[self.count(0, len(colours) - 1)]
        light = self.between(0.9, 1.08)
        return min(255.0, red * light), min(255.0, green * light), min(255.0, blue * light)


def starfish(dice: Dice) -> Iterator[Part]:
    """Five round arms, a lighter middle, and rows of dots."""
    colour = dice.one_of([(232, 92, 48), (222, 62, 74), (240, 132, 56)])
    waist = dice.between(0.36, 0.44)

    def star(size: float) -> Array:
        points = 120
        turns = [2 * math.pi * n / points for n in range(points)]
        radii = [size * (waist + (1 - waist) * ((1 + math.cos(5 * turn)) / 2) ** 1.7) for turn in turns]
        return np.array([(r * math.sin(turn), -r * math.cos(turn)) for r, turn in zip(radii, turns, strict=True)])

    yield Part(star(1.0), shade(colour, 0.66))
    yield Part(star(0.9), colour)
    yield Part(star(0.55), shade(colour, 1.16))
    for arm in range(5):
        turn = 2 * math.pi * arm / 5
        for step in (0.28, 0.46, 0.63, 0.77):
            dot = ellipse(step * math.sin(turn), -step * math.cos(turn), 0.075 - step * 0.035, 0.075 - step * 0.035, 12)
            yield Part(dot, (255, 222, 178), 0.9)


def jellyfish(dice: Dice) -> Iterator[Part]:
    """A bell that lets light through, with long tentacles below."""
    colour = dice.one_of([(238, 142, 214), (196, 150, 246), (250, 172, 190)])
    phase, wave = dice.between(0, 6.28), dice.between(0.05, 0.1)
    for n in range(6):
        x = -0.5 + 0.2 * n
        length = 0.78 + 0.2 * math.sin(2.4 * n + phase)
        line = [(x + wave * math.sin(7 * t + n + phase), -0.08 + length * t) for t in (k / 14 for k in range(15))]
        yield Part(ribbon(line, 0.085, 0.05), shade(colour, 0.92), 0.8)
    for x in (-0.14, 0.14):
        line = [(x + 0.09 * math.sin(9 * t + phase + x), -0.1 + 0.62 * t) for t in (k / 12 for k in range(13))]
        yield Part(ribbon(line, 0.2, 0.06), shade(colour, 1.12), 0.75)
    dome = [(0.72 * math.cos(t), -0.12 - 0.86 * math.sin(t)) for t in (math.pi * k / 24 for k in range(25))]
    hem = [(-0.72 + 1.44 * k / 24, -0.12 + 0.09 * abs(math.sin(math.pi * 5 * k / 24))) for k in range(25)]
    yield Part(np.array(dome + hem), shade(colour, 0.86), 0.92)
    yield Part(ellipse(0, -0.42, 0.52, 0.42), colour, 0.8)
    for x in (-0.24, 0.0, 0.24):
        yield Part(ellipse(x, -0.34, 0.09, 0.17), shade(colour, 1.2), 0.75)
    yield Part(ellipse(-0.26, -0.66, 0.16, 0.09), (255, 250, 255), 0.7)


def fish(dice: Dice) -> Iterator[Part]:
    """A body to the left, two fins, a forked tail, bands and an eye."""
    colour = dice.one_of([(250, 206, 52), (255, 224, 92), (246, 180, 40)])
    band = dice.one_of([(44, 62, 150), (30, 40, 92), (70, 92, 190)])
    deep = dice.between(0.4, 0.5)
    tail = np.array([(0.46, 0), (0.98, -0.46), (0.86, 0), (0.98, 0.46)])
    yield Part(tail, shade(colour, 0.8))
    yield Part(np.array([(-0.34, -deep * 0.75), (0.1, -deep - 0.24), (0.48, -deep - 0.08), (0.4, -0.14)]), band)
    yield Part(np.array([(-0.1, deep * 0.75), (0.2, deep + 0.2), (0.42, deep * 0.9), (0.36, 0.14)]), band)
    body = ellipse(-0.2, 0, 0.78, deep)
    yield Part(body, shade(colour, 0.78))
    yield Part(ellipse(-0.21, -0.03, 0.74, deep * 0.9), colour)
    for x, wide in ((-0.42, 0.07), (-0.02, 0.09), (0.3, 0.06)):
        half = deep * math.sqrt(max(0.0, 1 - ((x + 0.2) / 0.78) ** 2)) * 0.97
        line = [(x + 0.06 * (1 - t * t), half * t) for t in (k / 6 - 1 for k in range(13))]
        yield Part(ribbon(line, 2 * wide, 2 * wide), band)
    yield Part(np.array([(-0.2, 0.06), (0.12, 0.0), (0.08, 0.22)]), shade(colour, 0.72))
    yield Part(ellipse(-0.68, -0.1, 0.105, 0.105, 20), (250, 250, 246))
    yield Part(ellipse(-0.7, -0.1, 0.06, 0.06, 16), (16, 18, 30))


def crab(dice: Dice) -> Iterator[Part]:
    """A wide shell, eight legs, two claws and two eyes on stalks."""
    colour = dice.one_of([(64, 178, 120), (46, 160, 140), (98, 186, 84)])
    dark, light = shade(colour, 0.55), shade(colour, 1.22)
    raised = dice.between(0.0, 0.12)
    for side in (-1, 1):
        for n in range(4):
            knee = (side * (0.78 + 0.04 * n), -0.1 + 0.19 * n)
            foot = (side * (0.97 - 0.1 * n), 0.2 + 0.19 * n)
            yield Part(ribbon([(side * 0.42, 0.02 + 0.1 * n), knee, foot], 0.12, 0.06), dark)
        elbow, wrist = (side * 0.74, -0.26 - raised), (side * 0.6, -0.54 - raised)
        yield Part(ribbon([(side * 0.42, -0.08), elbow, wrist], 0.15, 0.15), dark)
        claw = moved(_claw(), wrist[0], wrist[1], 0.36, -0.35 * side, mirror=side > 0)
        yield Part(claw, colour)
        yield Part(ribbon([(side * 0.16, -0.2), (side * 0.2, -0.46)], 0.07, 0.07), dark)
        yield Part(ellipse(side * 0.2, -0.48, 0.085, 0.085, 16), (250, 250, 240))
        yield Part(ellipse(side * 0.19, -0.5, 0.045, 0.045, 12), (12, 14, 24))
    yield Part(ellipse(0, 0.12, 0.62, 0.42), dark)
    yield Part(ellipse(0, 0.08, 0.58, 0.37), colour)
    yield Part(ellipse(0, -0.02, 0.38, 0.18), light, 0.6)
    for x, y in ((-0.3, 0.16), (0.3, 0.16), (0.0, 0.26), (-0.15, 0.1), (0.15, 0.1)):
        yield Part(ellipse(x, y, 0.05, 0.05, 12), dark, 0.7)


def _claw() -> Array:
    """Outline an open claw that points up."""
    return np.array(
        [(-0.2, 0.2), (-0.56, -0.2), (-0.52, -0.66), (-0.2, -1.0), (-0.28, -0.56), (-0.02, -0.42)]
        + [(0.12, -0.62), (0.2, -0.98), (0.46, -0.6), (0.42, -0.16), (0.2, 0.2)]
    )


ANIMALS: dict[str, Callable[[Dice], Iterator[Part]]] = {
    "starfish": starfish,
    "jellyfish": jellyfish,
    "fish": fish,
    "crab": crab,
}
LEAN = {"starfish": math.pi, "jellyfish": 0.6, "fish": 0.45, "crab": 0.5}  # how far each may turn, in radians


# The sea around them


def soft_noise(dice: Dice, width: int, height: int, cell: int) -> Array:
    """Give smooth noise between -1 and 1 that changes over ``cell`` pixels."""
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
    for _ in range(dice.count(1, 3)):
        x, lean, wide = dice.between(0, width), dice.between(-60, 60), dice.between(8, 24)
        for spread in (1.0, 0.6):
            ray = [(x - wide * spread / 2, -1), (x + wide * spread / 2, -1)]
            end = [(x + lean + wide * spread * 1.6, height * 0.8), (x + lean - wide * spread * 1.6, height * 0.8)]
            paint(pixels, np.array(ray + end), (190, 232, 236), 0.06)
    return pixels


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
            line = [(x + sway * t * math.sin(5 * t + phase), height + 2 - tall * t) for t in (k / 16 for k in range(17))]
            paint(pixels, ribbon(line, 4.5, 1.2), colour, 0.72)


def specks(dice: Dice, pixels: Array) -> None:
    """Paint what drifts in the water: marine snow, and sometimes bubbles."""
    height, width, _ = pixels.shape
    for _ in range(dice.count(12, 30)):
        size = dice.between(0.4, 1.1)
        paint(pixels, ellipse(dice.between(0, width), dice.between(0, height), size, size, 10), (214, 232, 230), 0.5)
    for _ in range(dice.count(0, 6)):
        x, y, size = dice.between(0, width), dice.between(0, height * 0.8), dice.between(1.5, 3.2)
        paint(pixels, ellipse(x, y, size, size, 20), (196, 232, 240), 0.35)
        paint(pixels, ellipse(x - size * 0.3, y - size * 0.3, size * 0.35, size * 0.35, 10), (250, 255, 255), 0.8)


# Pictures


@dataclass
class Scene:
    """A picture while it is drawn, and the animals in it."""

    pixels: Array
    animals: list[Animal] = field(default_factory=list)

    def place(self, dice: Dice, kind: str) -> bool:
        """Draw an animal where there is room for it; return False where none was found."""
        height, width, _ = self.pixels.shape
        parts, turn, mirror = list(ANIMALS[kind](dice)), dice.between(-LEAN[kind], LEAN[kind]), dice.count(0, 1) == 1
        for _ in range(40):
            radius = dice.between(SMALLEST, LARGEST)
            x, y = (dice.between(radius + 1, side - radius - 1) for side in (width, height))
            outlines = [moved(part.outline, x, y, radius, turn, mirror) for part in parts]
            if self._is_free(np.concatenate(outlines)):
                masks = [
                    paint(self.pixels, outline, part.colour, part.opacity)
                    for outline, part in zip(outlines, parts, strict=True)
                ]
                self.animals.append(Animal(kind, np.logical_or.reduce(masks)))
                return True
        return False

    def _is_free(self, points: Array) -> bool:
        (x0, y0), (x1, y1) = points.min(axis=0) - GAP, points.max(axis=0) + GAP
        height, width, _ = self.pixels.shape
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            return False
        boxes = (animal.box for animal in self.animals)
        return all(x1 < x or x0 > x + wide or y1 < y or y0 > y + high for x, y, wide, high in boxes)


def draw(number: int) -> tuple[Image.Image, list[Animal]]:
    """Draw one picture; the same number always gives the same picture."""
    dice = Dice(np.random.default_rng([SEED, number]))
    width, height = SIZES[number % len(SIZES)]
    scene = Scene(water(dice, width, height))
    if dice.between(0, 1) < 0.6:
        seabed(dice, scene.pixels)
    if dice.between(0, 1) < 0.55:
        weeds(dice, scene.pixels)
    kinds = list(ANIMALS)
    for n in range(0 if number % EMPTY_EVERY == 0 else dice.count(1, 5)):
        scene.place(dice, kinds[(number + n * dice.count(1, 3)) % len(kinds)])
    specks(dice, scene.pixels)
    noise = dice.random.integers(-2, 3, (height, width, 3))
    pixels = np.clip(np.rint(scene.pixels) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels), scene.animals


def name(number: int) -> str:
    """Name a picture's file."""
    return f"reef-{number:03}.png"


def coco(drawn: dict[int, tuple[Image.Image, list[Animal]]]) -> str:
    """Describe the pictures and their animals as COCO does; the same pictures give the same text."""
    categories = {kind: number for number, kind in enumerate(ANIMALS, start=1)}
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
                "category_id": categories[animal.kind],
                "bbox": [float(side) for side in animal.box],
                "area": float(animal.area),
                "segmentation": [],
                "iscrowd": 0,
            }
            for n, (number, animal) in enumerate(found, start=1)
        ],
        "categories": [{"id": n, "name": kind, "supercategory": "animal"} for kind, n in categories.items()],
    }
    licence = {"id": 1, "name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}
    info = {"description": "Drawn animals of a reef", "version": "1", "year": 2026, "date_created": "2026-01-01"}
    lists = {"licenses": [licence], **rows}
    parts = [f'"{key}": [\n' + ",\n".join(map(json.dumps, values)) + "\n]" for key, values in lists.items()]
    return "{\n" + ",\n".join([f'"info": {json.dumps(info)}', *parts]) + "\n}\n"


def contact_sheet(images: Sequence[Image.Image], across: int = 4) -> Image.Image:
    """Put pictures beside each other, in few colours so that the file is small."""
    wide, high, edge = 192, 144, 6
    down = -(-len(images) // across)
    sheet = Image.new("RGB", (across * (wide + edge) + edge, down * (high + edge) + edge), (250, 250, 250))
    for n, image in enumerate(images):
        row, column = divmod(n, across)
        x, y = edge + column * (wide + edge), edge + row * (high + edge)
        fitted = image.resize((wide, round(image.height * wide / image.width)), Image.Resampling.LANCZOS)
        top = (fitted.height - high) // 2
        sheet.paste(fitted.crop((0, top, wide, top + high)) if top >= 0 else fitted.resize((wide, high)), (x, y))
    return sheet.quantize(128, dither=Image.Dither.NONE)


def main() -> None:
    """Draw everything, beside this script."""
    drawn = {number: draw(number) for number in range(1, PICTURES + 1)}
    (FOLDER / "images").mkdir(exist_ok=True)
    for number, (image, _) in drawn.items():
        image.save(FOLDER / "images" / name(number), optimize=True)
    (FOLDER / "train.json").write_text(coco(drawn))
    shown = [image for number, (image, _) in drawn.items() if image.width == SIZES[0][0]]
    contact_sheet(shown[:12]).save(FOLDER / "contact-sheet.png", optimize=True)
    print(f"{len(drawn)} pictures, {sum(len(animals) for _, animals in drawn.values())} animals")


if __name__ == "__main__":
    main()
