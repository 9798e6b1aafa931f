"""HTML on one page that holds all it shows, loads nothing and runs nothing. Text becomes HTML here and nowhere else."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = Path(__file__).with_name("report.css")
# nothing from anywhere, not even from where the page is: no script, no font, no frame
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def page(title: str, *content: str) -> str:
    """Return a whole page."""
    head = (
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    body = tag("body", tag("main", *content))
    return f"<!doctype html>\n{tag('html', tag('head', *head), body, lang='en')}\n"


def tag(name: str, *content: str, **attributes: str) -> Html:
    """Return an element, its content escaped unless it is `Html`; ``class_`` is the attribute ``class``."""
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    inner = "".join(part if isinstance(part, Html) else escape(part) for part in content)
    return Html(f"<{name}{given}>{inner}</{name}>\n")


def section(title: str, *content: str) -> Html:
    """Return a part of the page with its heading."""
    return tag("section", tag("h2", title), *content)


def facts(*rows: tuple[str, str | None]) -> Html:
    """Return a table of names and values; what is None is left out."""
    lines = (tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows if value is not None)
    return tag("table", tag("tbody", *lines), class_="facts")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> Html:
    """Return a table, the first column of which is what a row is about; the others are ``numbers`` or text."""
    kind = {"class_": "number"} if numbers else {}
    columns = [tag("th", head[0], scope="col"), *(tag("th", name, scope="col", **kind) for name in head[1:])]
    lines = (
        tag("tr", tag("th", first, scope="row"), *(tag("td", value, **kind) for value in values))
        for first, *values in rows
    )
    inner = tag(
        "table", tag("thead", tag("tr", *columns)), tag("tbody", *lines), class_="numbers" if numbers else "files"
    )
    return tag("div", inner, class_="wide")


def figure(image: bytes, caption: str, *, form: str = "png", width: int | None = None) -> Html:
    """Return a figure that holds its image, as wide as there is room; with ``width``, pixels, not wider than that.

    One with a ``width`` is moved sideways on a small screen rather than made too small to read.
    """
    size = "" if width is None else f' width="{width}"'
    source = f"data:image/{form};base64,{b64encode(image).decode()}"
    shown = Html(f'<img src="{source}"{size} alt="{escape(caption)}">')
    return tag("figure", tag("div", shown, class_="fit" if width is None else "wide"), tag("figcaption", caption))
