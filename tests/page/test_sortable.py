"""Pages with tables that can be sorted: one script, which the policy names; without it the page is complete."""

import hashlib
import re
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from datapack.page import render
from datapack.page.cells import Amount, Listing, bytes_of, code, line, link, name, share

TEMPLATE = """{% extends "base.html.j2" %}
{% from "parts.html.j2" import listing %}
{% block title %}t{% endblock %}
{% block content %}{{ listing(shown) }}{% endblock %}
{% block footer %}Made by a test.{% endblock %}
"""
ROWS = [("b", 10, bytes_of(3)), ("a", 9, bytes_of(2000)), ("c", 200, bytes_of(70))]
LISTING = Listing("Things", ("Name", "Number", "Size"), ROWS, "And 3 more.")


@pytest.fixture
def template(tmp_path) -> Path:
    path = tmp_path / "page.html.j2"
    path.write_text(TEMPLATE)
    return path


def test_the_policy_allows_exactly_this_script(template):
    """Its hash is in the policy; a page that is not sortable has no script, and its policy names none."""
    page = render(template, sortable=True, shown=LISTING)
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page.replace("&#39;", "'")
    assert "Its only script sorts tables" in page
    plain = render(template, shown=LISTING)
    assert "script" not in plain.replace("runs no script", "")
    assert "runs no script" in plain


def test_a_table_is_complete_without_the_script(template):
    """It has its caption, heads, cells and what is left out, and no button that does nothing; keys can scroll it."""
    page = render(template, shown=LISTING)
    assert "<caption>Things</caption>" in page
    assert (
        '<th scope="row">b</th><td class="number" data-value="10">10</td><td class="number" data-value="3">3 B</td>'
        in page
    )
    assert "And 3 more." in page
    assert "<button" not in page
    assert '<div class="wide" role="group" tabindex="0" aria-label="Things">' in page
    assert "<table" not in render(template, shown=Listing("Things", ("Name",), []))


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_script_is_valid(tmp_path):
    """Node.js can parse it."""
    script = Path(__file__).parents[2] / "datapack/page/sort.js"
    assert subprocess.run(["node", "--check", script], capture_output=True, check=False).returncode == 0


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(
    ("column", "clicks", "order", "state"),
    [
        (0, 1, "abc", "ascending"),
        (0, 2, "cba", "descending"),
        (1, 1, "cba", "descending"),
        (2, 1, "acb", "descending"),
        (2, 2, "bca", "ascending"),
    ],
)
def test_a_click_sorts(template, tmp_path, column, clicks, order, state):
    """Names are sorted as words and numbers by their value, first the largest; the head says how."""
    page = render(template, sortable=True, shown=LISTING)
    click = f"document.querySelectorAll('th button')[{column}].click();" * clicks
    digest = b64encode(hashlib.sha256(click.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ").replace(
        "</body>", f"<script>{click}</script></body>"
    )
    (tmp_path / "page.html").write_text(page)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    became = subprocess.run(
        [CHROMIUM, *options, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert "".join(re.findall('<th scope="row">([abc])</th>', became)) == order
    heads = re.findall('<th scope="col"[^>]*>', became)
    assert [f'aria-sort="{state}"' in head for head in heads] == [number == column for number in range(3)]


def test_cells_of_foreign_names_are_isolated():
    """Names are escaped, spelled out and isolated; a link goes only to the web."""
    assert name("<b>\u202e") == r"<bdi>&lt;b&gt;\u202e</bdi>"
    assert code("a/قنديل 1.jpg") == '<code><bdi dir="ltr">a/<bdi>قنديل</bdi> 1.jpg</bdi></code>'
    box = line("'نجم البحر': [1, 2, 30, 40] in <b>.jpg")
    assert box == '<bdi dir="ltr">&#39;<bdi>نجم البحر</bdi>&#39;: [1, 2, 30, 40] in &lt;b&gt;.jpg</bdi>'
    assert code("a&b") == "<code><bdi>a&amp;b</bdi></code>"
    assert link("javascript:alert(1)", "x") == "<bdi>x</bdi>"
    assert link('https://a.org/"><script>', "x").count("<") == 4


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 5, "0 %"),
        (1, 10**6, "under 0.1 %"),
        (1, 20, "5.0 %"),
        (1, 2, "50 %"),
        (999_999, 10**6, "over 99.9 %"),
        (0, 0, "0 %"),
    ],
)
def test_shares_never_round_to_all_or_nothing(part, whole, text):
    """0 % means none, 100 % all."""
    assert share(part, whole) == text
    assert Amount(text, part).value == part
