"""The base page of all reports: it loads nothing, and values are text."""

import hashlib
import re
from base64 import b64encode

import jinja2
import pytest

from datapack.page import Figure, render

TEMPLATE = """{% extends "base.html.j2" %}
{% from "parts.html.j2" import facts, figure, numbers %}
{% block title %}{{ name }}{% endblock %}
{% block content %}
<h1>{{ name }}</h1>
{{ facts([(name, name), ("left out", none)]) }}
{{ numbers((name, name), [(name, name)]) }}
{{ figure(shown) }}
{% endblock %}
{% block footer %}{{ name }}{% endblock %}
"""
EVIL = "</style><script>alert('x')</script>\" onload=\"y & {{ 7 * 7 }}"


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "page.html.j2"
    path.write_text(TEMPLATE)
    return path


def test_values_are_never_markup(template):
    """Titles, cells, captions and attributes show a value as it is, and no template code in it runs."""
    page = render(template, name=EVIL, shown=Figure(b"x", EVIL))
    assert "<script" not in page
    assert page.count("</style>") == 1
    assert ' onload="' not in page
    assert page.count("&lt;/style&gt;&lt;script&gt;") == page.count("{{ 7 * 7 }}") == 11


def test_a_missing_value_is_an_error(template):
    """A template that uses a value it was not given does not render."""
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        render(template, shown=Figure(b"x", ""))


def test_the_policy_allows_this_style_sheet_and_nothing_else(template):
    """No scripts, fonts, frames or connections; of styles only the one whose hash the policy holds."""
    page = render(template, name="x", shown=Figure(b"x", "x"))
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert not re.search(r"url\(|@import|@font-face|https?:", page)


@pytest.mark.parametrize(("width", "shown"), [(None, '<div class="fit"><img src'), (300, ' width="300" alt="below"')])
def test_a_figure_is_in_the_page(template, width, shown):
    """The image is a data URI; its caption is also its alternative text."""
    page = render(template, name="x", shown=Figure(b"PNG", "below", width=width))
    assert 'src="data:image/png;base64,UE5H"' in page
    assert "<figcaption>below</figcaption>" in page
    assert shown in page


def test_a_fact_without_a_value_is_left_out(template):
    """A value that is none has no row; an empty text or a zero has one."""
    for name in ("", 0):
        page = render(template, name=name, shown=Figure(b"x", "x"))
        assert f'<th scope="row">{name}</th><td>{name}</td>' in page
        assert "left out" not in page
