"""Foreign text in a record: no sign of it is markup in Markdown or HTML, and no link leads to anything but the web."""

import re
from html import unescape

import pytest

from datapack.ingress.markdown import code, escaped, markdown
from datapack.ingress.page import page
from datapack.ingress.record import Record, Source
from tests.ingress.records import a_record

EVIL = (
    "<script>alert(1)</script>",
    "a | b || c",
    "x` | <img src=x onerror=alert(1)> `",
    "[click](javascript:alert(1))",
    "![x](http://a.example/x.png)",
    "line\nbreak\r\n\n# heading\n| cell |",
    "right\u202eto left\u2066",
    "\u05e9\u05dc\u05d5\u05dd | \u0645\u0631\u062d\u0628\u0627",
    "\x1b[31mred\x00",
    "{: onclick=alert(1) }",
    "back\\slash \\| \\",
    "&lt;b&gt; $x$ ~~gone~~ **bold** _it_",
    "``two`` ``` three",
    "<!-- comment",
)


def with_text(text: str) -> Record:
    """A record with a text in every place that takes one from the catalog or from a file."""
    record = a_record()
    where = dict.fromkeys(
        ("title", "description", "purpose", "owner", "requested_by", "contact", "publisher", "homepage"), text
    )
    source = Source(kind="url", what=text, address=text, terms=text)
    licence = record.licence.model_copy(update={"expression": text, "texts": (text,)})
    kept = record.retention.model_copy(update={"reason": text, "deletion": None, "period": text})
    found = record.checks.findings[0].model_copy(update={"title": text, "accepted": text})
    checks = record.checks.model_copy(update={"findings": (found,)})
    image = record.image.model_copy(update={"where": text, "base": text})
    scan = record.scan.model_copy(
        update={
            "version": text,
            "file": text,
            "exceptions": (record.scan.exceptions[0].model_copy(update={"id": text, "reason": text}),),
        }
    )
    evidence = tuple(one.model_copy(update={"file": text, "said": text}) for one in record.evidence)
    guide = tuple(one.model_copy(update={"evidence": text, "recheck": text}) for one in record.container_guide)
    return record.model_copy(
        update={
            **where,
            "projects": (text, text),
            "sources": (source,),
            "licence": licence,
            "retention": kept,
            "checks": checks,
            "image": image,
            "scan": scan,
            "evidence": evidence,
            "container_guide": guide,
            "blank": (text,),
        }
    )


def shape(text: str) -> list[int]:
    """Return the number of cells of each line of a table, counting bars that are not escaped."""
    return [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in text.splitlines()]


@pytest.mark.parametrize("text", EVIL)
def test_markdown_has_the_same_shape_whatever_it_says(text):
    """Each line of the Markdown has as many cells as with plain text, and no line is added."""
    assert shape(markdown(with_text(text))) == shape(markdown(with_text("plain")))


@pytest.mark.parametrize("text", EVIL)
def test_a_real_renderer_makes_no_markup_of_it(text):
    """A renderer of GitHub's Markdown makes no tag, no link and no image of the text."""
    markdown_it = pytest.importorskip("markdown_it")
    html = markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown(with_text(text)))
    tags = set(re.findall(r"<([a-z0-9]+)", html))
    assert tags <= {"h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "br", "code", "a"}
    assert all(link.startswith(("http://", "https://")) for link in re.findall(r'href="([^"]*)"', html))


@pytest.mark.parametrize("text", EVIL)
def test_the_page_has_the_same_tags_whatever_it_says(text):
    """The page has no tag more than with plain text, and each link leads to the web."""
    html = page(with_text(text))
    assert "<script" not in html
    tags = [tag for tag in re.findall(r"<(\w+)", html) if tag != "bdi"]
    assert tags == [tag for tag in re.findall(r"<(\w+)", page(with_text("plain"))) if tag != "bdi"]
    assert all(link.startswith("https://") for link in re.findall(r'href="([^"]*)"', html))
    body = unescape(re.sub(r"<[^>]+>", "", html.partition("<body>")[2]))
    assert not [letter for letter in body if letter not in "\n\t" and (ord(letter) < 32 or letter in "\u202e\u2066")]


def test_a_web_address_is_a_link_and_others_are_text():
    """Only http and https addresses without signs that end a link become one."""
    record = with_text("https://a.example/x?a=1&b=2")
    assert "<https://a.example/x?a=1&b=2>" in markdown(record)
    assert 'href="https://a.example/x?a=1&amp;b=2"' in page(record)
    for bad in ("javascript:alert(1)", "https://a.example/|x", "https://a.example/>x", "data:text/html,x"):
        assert f"<{bad}" not in markdown(with_text(bad))


def test_what_code_can_not_hold_is_escaped_text():
    """A backtick would end a code span: such a text is escaped instead, and a bar is escaped in both."""
    assert code("a`b") == "a\\`b"
    assert code("a|b") == "`a\\|b`"
    assert escaped("a|b") == "a\\|b"
