"""Reports as HTML pages that hold everything they show: a page loads nothing.

A report is a jinja2 template that extends ``base.html.j2``. It fills the blocks ``title``, ``content`` and ``footer``,
imports the macros of ``parts.html.j2``, and uses the classes of ``style.css``. Values are text, never markup: jinja2
escapes them, control characters are spelled out, and a value that the template misses is an error. A page has no
script, or only the one that sorts tables, ``sort.js``: its policy lets no other script run.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """An image with a caption, for the macro ``figure``.

    It is as wide as the page. With a ``width`` in pixels, it is at most that wide, and on a small screen it scrolls
    sideways instead of becoming too small to read.
    """

    image: bytes
    caption: str
    form: str = "png"
    width: int | None = None

    @property
    def source(self) -> str:
        return f"data:image/{self.form};base64,{b64encode(self.image).decode()}"


def render(template: Path, *, sortable: bool = False, **values: Any) -> str:
    """Render a template with ``values``; if it is ``sortable``, with the script that sorts tables.

    Raises:
        jinja2.UndefinedError: the template uses a value that is missing.
    """
    import jinja2
    from markupsafe import Markup

    from datapack.page.cells import line
    from datapack.page.svg import short

    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = (_HERE / "sort.js").read_text(encoding="utf-8") if sortable else ""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    ours = {"style": Markup(style), "script": Markup(script)}  # noqa: S704 - our own files
    environment.filters |= {"short": short, "line": line}
    environment.globals |= {**ours, "policy": _policy(style, script)}
    return environment.get_template(template.name).render(values)


def _visible(value: Any) -> Any:
    """Spell out the control characters of a text; markup stays as it is."""
    from datapack.page.svg import visible

    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy: the images in the page, exactly this style sheet, and exactly this script."""
    scripts = f" script-src '{_source(script)}';" if script else ""
    return (
        f"default-src 'none'; img-src data:; style-src '{_source(style)}';{scripts} base-uri 'none'; form-action 'none'"
    )


def _source(content: str) -> str:
    """Return what a policy calls an inline style sheet or script: its hash."""
    return f"sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
