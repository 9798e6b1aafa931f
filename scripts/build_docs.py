"""Build the site of the docs: ``python scripts/build_docs.py [FOLDER]``, by default ``build/docs``.

Any warning is an error. The same pages give the same bytes, on any day. The generator works in a folder of its own:
it keeps a cache in ``.cache``, where tests keep their downloads.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
SETTINGS = "mkdocs.yml"
SITE = "build/docs"  # site_dir in the settings
_LIST = re.compile(r"(?:[-*]|\d+\.) |\|")  # or a table
_OF_A_LIST = re.compile(r"\s|$|#|(?:[-*]|\d+\.) |\|")


def main() -> int:
    """Build the site, and put it in place once it is complete; return the exit status."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / SITE).absolute()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(PROJECT / SETTINGS, folder)
        shutil.copytree(PROJECT / "docs", folder / "docs")
        for page in (folder / "docs").rglob("*.md"):
            page.write_text(as_on_github(page.read_text()))
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(command, cwd=folder, env={**os.environ, "NO_COLOR": "1"}, check=False)
        if done.returncode:
            return done.returncode
        _replace(folder / SITE, target)
    return 0


def as_on_github(text: str) -> str:
    """Put an empty line before each list and table directly below text or a block: without, the generator sees text."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if not inside and _LIST.match(line) and lines and not _OF_A_LIST.match(lines[-1]):
            lines.append("")
        inside ^= line.startswith("```")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _replace(site: Path, target: Path) -> None:
    """Replace the folder by the new site, readable by everybody."""
    (site / "sitemap.xml").unlink(missing_ok=True)  # it has the day, and a site in a folder has no address
    for path in (site, *site.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    for old in (partial, target):
        shutil.rmtree(old, ignore_errors=True)
    shutil.move(site, partial)
    partial.rename(target)


if __name__ == "__main__":
    sys.exit(main())
