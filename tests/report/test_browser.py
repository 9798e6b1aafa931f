"""The page in Chromium: nothing violates its policy, nothing is loaded, and tables can be sorted."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from datapack.inspect.findings import Finding
from tests.report.surveys import EVIL, RULE, a_coco, a_page, a_survey

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def look(folder: Path, html: str) -> tuple[str, str]:
    """Load a page in Chromium, without a network; return what it became, and Chromium's log with the console."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    options += [f"--user-data-dir={folder / 'profile'}", "--proxy-server=127.0.0.1:1", "--virtual-time-budget=3000"]
    done = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, done.stderr


def test_the_page_works_under_its_own_policy(tmp_path):
    """The script puts a button into each head; the console has no violation and no error, whatever names there are."""
    coco = a_coco(categories=(EVIL, "crab"), boxes=[(0, 0, (1, 1, 9, 9)), (1, 1, (1, 1, 9, 9))])
    page = a_page(a_survey(coco), (Finding(RULE, 9, (EVIL,)),), title=EVIL)
    became, log = look(tmp_path, page.html)
    assert "CONSOLE" not in log, log
    heads = re.findall(r"<table class=\"sortable\">.*?</thead>", became, re.DOTALL)
    assert heads
    assert sum(head.count('<button type="button">') for head in heads) == sum(
        head.count("<th") for head in heads
    ) - len(heads)


def test_a_foreign_script_does_not_run(tmp_path):
    """If markup got into a page, its policy would stop it; and this test would see it."""
    html = a_page(a_survey(a_coco())).html
    injected = html.replace("</footer>", "</footer><script>document.title = 'taken over'</script><img src=x onerror=1>")
    became, log = look(tmp_path, injected)
    assert "<title>taken over" not in became
    assert log.count("Content Security Policy") >= 2
