"""Reports as HTML pages that hold everything they show: a page loads nothing and runs no script.

A report is a jinja2 template that extends ``base.html.j2``. It fills the blocks ``title``, ``content`` and ``footer``,
imports the macros of ``parts.html.j2``, and uses the classes of ``style.css``. Values are text, never markup: jinja2
escapes them, and a value that the template misses is an error.
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


def render(template: Path, **values: Any) -> str:
    """Render a template with ``values``.

    Raises:
        jinja2.UndefinedError: the template uses a value that is missing.
    """
    import jinja2
    from markupsafe import Markup

    style = (_HERE / "style.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"style": Markup(style), "policy": _policy(style)}  # noqa: S704 - our own style sheet
    return environment.get_template(template.name).render(values)


def _policy(style: str) -> str:
    """Return the Content-Security-Policy: nothing but the images in the page and exactly this style sheet."""
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
