"""The site builds without a warning, twice the same, loads nothing from elsewhere, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import PROJECT
from tests.docs.pages import DOCS, blocks, pages, prose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data"), ("use", "href")}
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+$")


class Page(HTMLParser):
    """What a page of the site loads, where its links lead, and its anchors."""

    def __init__(self, path: Path):
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.loaded += [values[name] for name in values if (tag, name) in _LOADED]
        if tag == "link":
            (self.links if values.get("rel") in {"prev", "next"} else self.loaded).append(values.get("href", ""))
        elif tag == "a" and "href" in values:
            self.links.append(values["href"])


def build(folder: Path) -> Path:
    """Build the site as `make docs` does."""
    command = [sys.executable, PROJECT / "scripts/build_docs.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("zensical")
    return build(tmp_path_factory.mktemp("site") / "docs")


@pytest.fixture(scope="module")
def parsed(site: Path) -> dict[Path, Page]:
    """All pages of the site."""
    found = {path: Page(path) for path in site.rglob("*.html")}
    assert len(found) > len(list(DOCS.rglob("*.md")))  # and the one for errors
    return found


def test_two_builds_have_the_same_bytes(site: Path, tmp_path: Path) -> None:
    """The site is part of the trainer images, and has no date."""
    again = build(tmp_path / "docs")
    files = {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert [name for name in files if (site / name).read_bytes() != (again / name).read_bytes()] == []
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in site.rglob("*"))


def test_nothing_is_loaded_from_another_host(parsed: dict[Path, Page], site: Path) -> None:
    """Readers in a Safe Haven have no network: styles, scripts, fonts and images are all files of the site."""
    for path, page in parsed.items():
        for name in page.loaded:
            if path.name == "404.html" or name.startswith("data:"):
                continue
            assert not urlsplit(name).netloc, f"{path}: {name}"
            assert (path.parent / unquote(urlsplit(name).path)).is_file(), f"{path}: {name}"
    for style in site.rglob("*.css"):
        loaded = re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)", style.read_text())
        assert loaded == [], style


def test_every_link_of_the_site_leads_somewhere(parsed: dict[Path, Page]) -> None:
    """Pages and their anchors exist; an address elsewhere has the form of one."""
    for path, page in parsed.items():
        if path.name != "404.html":
            for link in page.links:
                parts = urlsplit(link)
                if parts.scheme:
                    assert _is_address(link), f"{path}: {link}"
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                assert target.is_file(), f"{path}: {link}"
                if parts.fragment and target in parsed:
                    assert unquote(parts.fragment) in parsed[target].anchors | {"__skip"}, f"{path}: {link}"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_the_copy_button_copies_the_commands(page: Path, site: Path) -> None:
    """Prompts and output are not copied: `site.css` hides them from the button by the classes of their spans."""
    html = (site / page.relative_to(DOCS)).with_suffix(".html").read_text()
    shown = re.findall(r'<div class="language-console highlight">.*?<code>(.*?)</code>', html, re.DOTALL)
    copied = [unescape(re.sub(r"<[^>]+>", "", re.sub(r'<span class="g[op]">[^<]*</span>', "", one))) for one in shown]
    written = [block for block in blocks(page.read_text()) if block.kind == "console"]
    assert [one.split() for one in copied] == [[w for c in one.commands() for w in c.text.split()] for one in written]


def test_lists_and_tables_are_lists_and_tables(parsed: dict[Path, Page]) -> None:
    """Directly below a block they are text here, though not on GitHub: they need an empty line before them."""
    for path in parsed:
        lines = re.findall(r"^(?:<p>)?(?:[-*]|\d+\.|\|) .*", path.read_text(), re.MULTILINE)
        assert lines == [], path


def test_every_page_is_in_the_navigation(site: Path) -> None:
    """A page that nobody finds is no use."""
    listed = (PROJECT / "mkdocs.yml").read_text()
    assert [page for page in DOCS.rglob("*.md") if f" {page.relative_to(DOCS)}\n" not in listed] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_in_markdown_leads_somewhere(page: Path) -> None:
    """GitHub shows the pages too: files and headings exist."""
    for link in _LINK.findall(prose(page.read_text())):
        parts = urlsplit(link)
        if parts.scheme:
            assert _is_address(link), link
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), link
        assert PROJECT in (target, *target.parents), link
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in set(_headings(target.read_text())), link


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    """The generator fails on a page and on a heading that do not exist."""
    assert [*_headings("# A `b`: C\n## A\n## A\n```\n# no\n```\n")] == ["a-b-c", "a", "a-1"]
    assert _LINK.findall("[a](b.md#c) ![d](e.svg) [`x` [y]](z)") == ["b.md#c", "e.svg", "z"]
    assert not _is_address("https://no-host/")
    assert not _is_address("javascript:alert()")


def _headings(text: str) -> Iterator[str]:
    """Yield the anchors that GitHub gives to the headings."""
    seen: dict[str, int] = {}
    for heading in re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    ):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if anchor in seen else anchor
        seen[anchor] = seen.get(anchor, 0) + 1


def _is_address(link: str) -> bool:
    parts = urlsplit(link)
    return parts.scheme in {"https", "http"} and bool(_HOST.match(parts.hostname or ""))
