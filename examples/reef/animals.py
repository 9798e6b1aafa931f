"""The animals of the reef: each is a list of filled outlines, in units of its radius."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """A filled outline of an animal, in units of its radius, x to the right and y down."""

    outline: Array
    colour: Colour
    opacity: float = 1.0


def ellipse(x: float, y: float, width: float, height: float, points: int = 40) -> Array:
    """Outline an ellipse, given its centre and its half axes."""
    turns = [2 * math.pi * n / points for n in range(points)]
    return np.array([(x + width * math.cos(turn), y + height * math.sin(turn)) for turn in turns])


def ribbon(line: Sequence[tuple[float, float]], start: float, end: float) -> Array:
    """Outline a line whose width changes from ``start`` to ``end``."""
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
    """Rotate an outline by ``turn`` radians, scale it, and move it."""
    sine, cosine = math.sin(turn), math.cos(turn)
    across = -outline[:, 0] if mirror else outline[:, 0]
    down = outline[:, 1]
    return np.stack([x + scale * (across * cosine - down * sine), y + scale * (across * sine + down * cosine)], axis=1)


def shade(colour: Colour, by: float) -> Colour:
    """Make a colour lighter (above 1) or darker (below 1)."""
    red, green, blue = (min(255.0, part * by) for part in colour)
    return red, green, blue


@dataclass(frozen=True)
class Dice:
    """Random choices from one generator."""

    random: np.random.Generator

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.random.random())

    def count(self, low: int, high: int) -> int:
        """Return a random integer, both ends included."""
        return int(self.random.integers(low, high + 1))

    def one_of(self, colours: Sequence[Colour]) -> Colour:
        """Pick a colour and vary its brightness a little."""
        return shade(colours[self.count(0, len(colours) - 1)], self.between(0.9, 1.08))


def starfish(dice: Dice) -> Iterator[Part]:
    """Draw five round arms, a lighter middle, and rows of dots."""
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
    """Draw a translucent bell with long tentacles below."""
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
    """Draw a body that faces left, with two fins, a forked tail, bands and an eye."""
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
    """Draw a wide shell, eight legs, two claws and two eyes on stalks."""
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
    outer = [(-0.2, 0.2), (-0.56, -0.2), (-0.52, -0.66), (-0.2, -1.0), (-0.28, -0.56), (-0.02, -0.42)]
    inner = [(0.12, -0.62), (0.2, -0.98), (0.46, -0.6), (0.42, -0.16), (0.2, 0.2)]
    return np.array([*outer, *inner])


ANIMALS: dict[str, Callable[[Dice], Iterator[Part]]] = {
    "starfish": starfish,
    "jellyfish": jellyfish,
    "fish": fish,
    "crab": crab,
}
LEAN = {"starfish": math.pi, "jellyfish": 0.6, "fish": 0.45, "crab": 0.5}  # largest rotation, in radians
