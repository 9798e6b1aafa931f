"""Plots: real text, a title and a description, no style of their own, and small."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from datapack.errors import shown
from datapack.page.svg import (
    MOST_BARS,
    WIDTH,
    Dot,
    Series,
    bars,
    heat_map,
    histogram,
    isolated,
    scatter,
    short,
    visible,
)

EVIL = "</title><script>alert('x')</script>\" & \x1b[2J\u202egnp"
SPACE = "{http://www.w3.org/2000/svg}"


def drawn(kind: str, name: str = "a", values: tuple[int, ...] = (3, 1)):
    series = [Series(name, values), Series(name, values)]
    labels = [name] * len(values)
    return {
        "bars": lambda: bars(name, name, labels, series, name),
        "histogram": lambda: histogram(name, name, labels, series, name),
        "heat map": lambda: heat_map(name, name, [values, values]),
        "scatter": lambda: scatter(name, name, [Dot(count, count, count + 1) for count in values], name, name),
    }[kind]()


KINDS = ["bars", "histogram", "heat map", "scatter"]


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_text(kind):
    """Whatever a label says, the plot is well formed, and control characters are spelled out."""
    svg = drawn(kind, EVIL)
    root = ET.fromstring(svg)
    assert not root.findall(".//script")
    assert not {"\x1b", "\u202e"} & set(svg)
    assert root.find("title").text == root.find("desc").text == shown(EVIL)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plot_has_no_style_and_no_reference(kind):
    """Colours come from classes, so that the page's policy can forbid all other styles; nothing refers to anything."""
    root = ET.fromstring(drawn(kind))
    names = {key for element in root.iter() for key in element.attrib}
    assert not names & {"style", "fill", "stroke", "href", "id"}
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == ["title", "desc"]
    assert root.get("width") == str(WIDTH)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [(), (0,), (0, 0), (1,), (10**12,)])
def test_no_values_and_huge_ones_can_be_drawn(kind, values):
    """Every coordinate is a number, and lies in the plot."""
    svg = drawn(kind, values=values)
    assert "nan" not in svg
    assert "inf" not in svg
    for key in ("x", "y", "cx", "cy", "width", "height"):
        assert all(-1 <= float(value) <= 800 for value in re.findall(rf' {key}="([^"]*)"', svg))


def test_bars_are_as_long_as_their_values():
    """The longest takes the whole width; series lie side by side in it."""
    svg = bars("t", "d", ["a", "b"], [Series("x", (30, 10)), Series("y", (10, 0))])
    places = re.findall(r'<rect class="(s\d)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="8"', svg)
    assert places == [("s0", "0", "270"), ("s1", "270", "90"), ("s0", "0", "90")]


def test_of_many_bars_the_first_are_drawn():
    """The others are in one line at the end."""
    svg = bars("t", "d", [str(n) for n in range(5000)], [Series("x", range(5000))], "and 4,960 more")
    assert svg.count("<rect") == MOST_BARS - 1  # the first is 0
    assert svg.count("and 4,960 more") == 1
    assert len(svg) < 12_000


def test_labels_do_not_overlap():
    """Of many columns only every so many have their label."""
    svg = histogram("t", "d", [f"{n},000" for n in range(40)], [Series("x", range(40))], "axis")
    places = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="198" class="middle">', svg)]
    assert all(after - before > 40 for before, after in pairwise(places))


def test_a_heat_map_has_a_path_for_each_shade():
    """A count of 0 has no cell; the largest has the strongest shade."""
    svg = heat_map("t", "d", [[0, 1], [8, 8]])
    cells = {shade: len(re.findall("M", path)) for shade, path in re.findall(r'<path class="h(\d)" d="([^"]*)"', svg)}
    assert cells == {"1": 1, "8": 2}


def test_a_name_in_a_sentence_keeps_its_direction_to_itself():
    """It is between the characters that isolate it, which only we can write; others are spelled out."""
    assert isolated("fish") == "fish"
    assert visible(f"{isolated('قنديل')}: 3") == "\u2068قنديل\u2069: 3"
    assert isolated("\u2069x") == r"\u2069x"
    assert visible("a\nb\x1b\u202e") == "a\nb\\x1b\\u202e"


def test_a_long_label_is_cut_but_can_be_read():
    """The whole label, or nearly, is in its tip."""
    svg = bars("t", "d", ["a" * 100], [Series("x", [1])])
    (text, tip) = re.search(r">(a+…a+)<title>(a+)</title>", svg).groups()
    assert len(text) <= 44
    assert tip == "a" * 100


@pytest.mark.parametrize("text", ["a" * 10**6, "\x1b" * 10**6, "", " ", "\u202e"])
def test_a_short_text_is_short_and_visible(text):
    """A name of a million characters, of control characters, or of nothing, takes little room and is not invisible."""
    found = short(text)
    assert 0 < len(found) <= 241
    assert found.isprintable()
