"""Plots as small static SVG, for a page: no script, no font, no colour of their own. ``style.css`` has the colours.

Every plot has a title and a description, which screen readers read instead of it, and its text is text. A plot is at
most `WIDTH` units wide, which is a phone's width, so that its text stays as large as the text around it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

from markupsafe import Markup

from datapack.errors import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_NAME = "(no name)"
WIDTH = 360
MOST_BARS = 40
MOST_SERIES = 6  # colours in the style sheet
_ISOLATE, _END = "\u2068", "\u2069"  # of Unicode: the text between them does not change the direction around it
_KEPT = frozenset({"\n", _ISOLATE, _END})
_AT_KEPT = re.compile(f"([\n{_ISOLATE}{_END}])")
_LONGEST = 44  # characters of a label
_LEFT, _TOP, _HEIGHT = 44, 12, 170  # of the area of a plot with axes
_ROW, _BAR = 30, 8  # of a horizontal bar with its label above it
_LEVELS = 8  # shades of a heat map
_CELL, _KEY = 10, 12  # of a heat map, and of a shade in its key
_LARGEST_DOT = 16


@dataclass(frozen=True)
class Series:
    """Values with a common colour and name, one for each label of the plot."""

    name: str
    values: Sequence[int]


class Plot(NamedTuple):
    """A plot in a page: its title, what to conclude from it, and the drawing."""

    title: str
    conclusion: str
    svg: Markup


class _Drawing:
    """An SVG in the making."""

    def __init__(self, title: str, description: str, height: float) -> None:
        size = {"viewBox": f"0 0 {WIDTH} {_number(height)}", "width": str(WIDTH), "height": _number(height)}
        self._root = ET.Element("svg", {"class": "plot", "role": "img", **size})
        ET.SubElement(self._root, "title").text = visible(title)
        ET.SubElement(self._root, "desc").text = visible(description)

    def rectangle(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> None:
        self._shape("rect", kind, tip, x=x, y=y, width=width, height=height)

    def circle(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        self._shape("circle", kind, tip, cx=x, cy=y, r=radius)

    def path(self, commands: str, kind: str) -> None:
        ET.SubElement(self._root, "path", {"class": kind, "d": commands})

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        place = {"x": _number(x), "y": _number(y)}
        element = ET.SubElement(self._root, "text", {**place, **({"class": kind} if kind else {})})
        element.text = short(text, _LONGEST)
        if element.text != shown(text):
            ET.SubElement(element, "title").text = short(text, 10 * _LONGEST)

    def _shape(self, name: str, kind: str, tip: str, **numbers: float) -> None:
        values = {key: _number(value) for key, value in numbers.items()}
        element = ET.SubElement(self._root, name, {"class": kind, **values})
        if tip:
            ET.SubElement(element, "title").text = visible(tip)

    def markup(self) -> Markup:
        return Markup(ET.tostring(self._root, encoding="unicode"))  # noqa: S704 - ElementTree escapes every text


def bars(title: str, description: str, labels: Sequence[str], series: Sequence[Series], more: str = "") -> Markup:
    """Draw a horizontal bar for each label, from series on top of each other; the label is above its bar.

    Only the first `MOST_BARS` are drawn; ``more`` is a line that says what the others are.
    """
    drawn = labels[:MOST_BARS]
    totals = [sum(values) for values in zip(*(one.values for one in series), strict=True)][:MOST_BARS]
    top = _legend_height(series)
    drawing = _Drawing(title, description, top + _ROW * len(drawn) + (_ROW if more else 4))
    _draw_legend(drawing, series)
    most = max(totals, default=0) or 1
    for row, (label, total) in enumerate(zip(drawn, totals, strict=True)):
        y = top + row * _ROW
        drawing.text(0, y + 13, label)
        drawing.text(WIDTH, y + 13, f"{total:,}", "end")
        x = 0.0
        for number, one in enumerate(series):
            width = WIDTH * one.values[row] / most
            if width:
                drawing.rectangle(
                    x, y + 18, max(width, 0.5), _BAR, f"s{number}", f"{isolated(one.name)}: {one.values[row]:,}"
                )
            x += width
    if more:
        drawing.text(0, top + len(drawn) * _ROW + 16, more, "muted")
    return drawing.markup()


def histogram(
    title: str, description: str, labels: Sequence[str], series: Sequence[Series], axis: str, tips: Sequence[str] = ()
) -> Markup:
    """Draw a column for each label, from series on top of each other.

    Args:
        title: the plot's title.
        description: what the plot shows, in words.
        labels: below the columns; as many are shown as there is room for.
        series: the heights.
        axis: what the labels are, with their unit.
        tips: what each column is, in words; by default its label.
    """
    top = _legend_height(series) + _TOP
    totals = [sum(values) for values in zip(*(one.values for one in series), strict=True)]
    most = _round_up(max(totals, default=0))
    drawing = _Drawing(title, description, top + _HEIGHT + 40)
    _draw_legend(drawing, series)
    for part in (0, 1, 2):
        y = top + _HEIGHT * (1 - part / 2)
        drawing.path(f"M{_LEFT} {_number(y)}H{WIDTH}", "line")
        drawing.text(_LEFT - 5, y + 4, _brief_count(most * part / 2), "end")
    step = (WIDTH - _LEFT) / max(len(labels), 1)
    for place, tip in enumerate(tips or labels):
        y = top + float(_HEIGHT)
        for number, one in enumerate(series):
            height = _HEIGHT * one.values[place] / most
            if height:
                y -= height
                named = f"{tip}{f', {isolated(one.name)}' if len(series) > 1 else ''}: {one.values[place]:,}"
                drawing.rectangle(_LEFT + step * place + 1, y, max(step - 2, 1), max(height, 0.7), f"s{number}", named)
    _draw_labels(drawing, labels, step, top + _HEIGHT + 16)
    drawing.text((WIDTH + _LEFT) / 2, top + _HEIGHT + 34, axis, "middle muted")
    return drawing.markup()


def _draw_labels(drawing: _Drawing, labels: Sequence[str], step: float, y: float) -> None:
    longest = max((len(label) for label in labels), default=1)
    every = max(1, math.ceil((longest * 7 + 6) / step))
    for place in range(0, len(labels), every):
        drawing.text(_LEFT + step * (place + 0.5), y, labels[place], "middle")


def heat_map(title: str, description: str, rows: Sequence[Sequence[int]]) -> Markup:
    """Draw counts as shades of one colour; a shade for each eighth of the largest count, none where it is 0."""
    most = max((count for row in rows for count in row), default=0) or 1
    scale = WIDTH / (_CELL * max(1, *map(len, rows)))
    cells: dict[int, list[str]] = {}
    for y, row in enumerate(rows):
        for x, count in enumerate(row):
            if count:
                level = max(1, math.ceil(_LEVELS * count / most))
                at = f"M{_number(x * _CELL * scale)} {_number(y * _CELL * scale)}"
                side = _number(_CELL * scale)
                cells.setdefault(level, []).append(f"{at}h{side}v{side}h-{side}z")
    height = len(rows) * _CELL * scale
    drawing = _Drawing(title, description, height + 26)
    drawing.rectangle(0, 0, WIDTH, height, "ground")
    for level in sorted(cells):
        drawing.path("".join(cells[level]), f"h{level}")
    drawing.text(0, height + 18, "0")
    for level in range(1, _LEVELS + 1):
        drawing.rectangle(_KEY * level, height + 8, _KEY, _KEY, f"h{level}")
    drawing.text(6 + _KEY * (_LEVELS + 1), height + 18, f"{most:,} in one cell")
    return drawing.markup()


@dataclass(frozen=True)
class Dot:
    """A place in a scatter plot, and how many things are there."""

    x: float
    y: float
    count: int


def scatter(title: str, description: str, dots: Sequence[Dot], x_axis: str, y_axis: str) -> Markup:
    """Draw dots whose areas are their counts, on axes from 0."""
    top = _TOP + 14
    right, high = (_round_up(max((value for value in values), default=0)) for values in _coordinates(dots))
    most = max((dot.count for dot in dots), default=1)
    drawing = _Drawing(title, description, top + _HEIGHT + 40)
    drawing.text(0, 12, y_axis, "muted")
    width = WIDTH - _LEFT - _LARGEST_DOT
    for part in (0, 1, 2):
        y = top + _HEIGHT * (1 - part / 2)
        drawing.path(f"M{_LEFT} {_number(y)}H{WIDTH}", "line")
        drawing.text(_LEFT - 5, y + 4, _brief_count(high * part / 2), "end")
        drawing.text(_LEFT + width * part / 2, top + _HEIGHT + 16, _brief_count(right * part / 2), "middle")
    for dot in sorted(dots, key=lambda dot: (-dot.count, dot.x, dot.y)):
        x, y = _LEFT + width * dot.x / right, top + _HEIGHT * (1 - dot.y / high)
        tip = f"{dot.x:,.0f} × {dot.y:,.0f}: {dot.count:,}"  # noqa: RUF001
        drawing.circle(x, y, max(2.5, _LARGEST_DOT * math.sqrt(dot.count / most)), "dot", tip)
    drawing.text((WIDTH + _LEFT) / 2, top + _HEIGHT + 34, x_axis, "middle muted")
    return drawing.markup()


def _coordinates(dots: Sequence[Dot]) -> tuple[list[float], list[float]]:
    return [dot.x for dot in dots], [dot.y for dot in dots]


def _legend_height(series: Sequence[Series]) -> int:
    return 20 * len(series) if len(series) > 1 else 0


def _draw_legend(drawing: _Drawing, series: Sequence[Series]) -> None:
    for number, one in enumerate(series if len(series) > 1 else ()):
        drawing.rectangle(0, 20 * number + 3, 11, 11, f"s{number}")
        drawing.text(18, 20 * number + 13, one.name)


def isolated(text: str, longest: int = 120) -> str:
    """Return a foreign name for a sentence: one from right to left can't turn the words around it."""
    plain = short(text, longest)
    return plain if plain.isascii() else f"{_ISOLATE}{plain}{_END}"


def visible(text: str) -> str:
    """Spell out control characters and changes of direction, but for the ends of lines and those of `isolated`."""
    if text.isprintable():
        return text
    return "".join(part if part in _KEPT else shown(part) for part in _AT_KEPT.split(text))


def short(text: str, longest: int = 120) -> str:
    """Return a foreign text in a form that can't disturb the text around it, cut in the middle if it is too long."""
    if not text.strip():
        return NO_NAME
    plain = shown(text if len(text) <= longest else text[: longest * 2 // 3] + "…" + text[-(longest // 3) + 1 :])
    return plain if len(plain) <= longest * 2 else f"{plain[: longest * 2]}…"


def _round_up(value: float) -> float:
    """Return the next larger number with one digit that is 1, 2, 4, 5, 6 or 8, so that half of it is a short number."""
    if value <= 2:  # noqa: PLR2004 - counts: half of 2 is 1
        return 2
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * digit for digit in (1, 2, 4, 6, 8, 10) if unit * digit >= value)


def _brief_count(value: float) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if value >= unit:
            return f"{value / min(unit, 10**3 if name == 'k' else unit):,.4g}{name}"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"  # noqa: PLR2004


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
