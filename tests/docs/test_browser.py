"""The site in Chromium, from a disk and without a network: the search finds what one types, no page is too wide."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from tests.docs.test_site import build

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
PHONE, DESKTOP = 390, 1440
#: Types a word into the search, letter by letter, and puts what the field holds and the titles found into the page.
TYPE = """
const all = (root) => [...root.querySelectorAll("*")].flatMap((e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
window.addEventListener("load", async () => {
  await pause(500);
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "k", ctrlKey: true, bubbles: true }));
  await pause(500);
  const field = all(document).find((e) => e.matches("input[type=text], input[type=search]"));
  for (const letter of "rehearsal") {
    field.value += letter;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    await pause(200);
  }
  await pause(1000);
  const found = all(document).filter((e) => e.matches("a[href*='?h=']")).map((e) => e.textContent);
  document.body.dataset.result = JSON.stringify([field.value, found]);
});
"""
#: Opens each page in a frame of each width, and notes those that one could scroll to the side.
MEASURE = """
const frame = document.body.appendChild(document.createElement("iframe"));
const open = (page) => new Promise((resolve) => { frame.onload = resolve; frame.src = page; });
(async () => {
  const wide = [], seen = [];
  for (const width of WIDTHS) for (const page of PAGES) {
    frame.style.width = `${width}px`;
    await open(page);
    const { scrollWidth, clientWidth } = frame.contentDocument.documentElement;
    seen.push(clientWidth);
    if (scrollWidth > clientWidth) wide.push([page, width, scrollWidth]);
  }
  document.body.dataset.result = JSON.stringify([wide, seen]);
})();
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("zensical")
    return build(tmp_path_factory.mktemp("site") / "docs")


def look(page: Path, folder: Path, *more: str) -> tuple[list, str]:
    """Load a page in Chromium, without a network; return the result that its script left, and Chromium's log."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    options += [f"--user-data-dir={folder / 'profile'}", "--proxy-server=127.0.0.1:1", "--virtual-time-budget=60000"]
    command = [CHROMIUM, *options, *more, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    result = re.search(r'data-result="([^"]*)"', done.stdout)
    assert result, done.stderr
    return json.loads(unescape(result[1])), done.stderr


def test_the_search_finds_what_one_types(site: Path, tmp_path: Path) -> None:
    """A page opened from a disk may not start a worker: ours does its work, and the field keeps what one typed."""
    page = site / "typed.html"
    page.write_text((site / "index.html").read_text().replace("</body>", f"<script>{TYPE}</script></body>"))
    try:
        (typed, found), log = look(page, tmp_path)
    finally:
        page.unlink()
    assert typed == "rehearsal"
    assert [title for title in found if title.startswith("Rehearse before you go inside")]
    assert "CONSOLE" not in log, log


@pytest.mark.slow
def test_no_page_is_wider_than_its_window(site: Path, tmp_path: Path) -> None:
    """Tables and blocks scroll on their own: the page does not."""
    pages = sorted(path.as_uri() for path in site.rglob("*.html") if path.name != "404.html")
    script = MEASURE.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps([PHONE, DESKTOP]))
    measuring = tmp_path / "measure.html"
    measuring.write_text(f"<!doctype html><title>widths</title><body><script>{script}</script></body>")
    (wide, seen), log = look(measuring, tmp_path, "--allow-file-access-from-files", "--hide-scrollbars")
    assert len(seen) == 2 * len(pages)
    assert wide == []
    assert "CONSOLE" not in log, log
