"""The docs as a folder of web pages: an image has them, because readers in a Safe Haven have no internet."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from trainers.errors import TrainingError

SITE = Path(__file__).parents[1] / "docs"  # in an image: /opt/trainers/docs
FIRST_PAGE = "index.html"


def copy_site(target: Path, site: Path = SITE) -> str:
    """Copy the site to a folder, whole or not at all; return the folder as text. An equal copy stays as it is.

    Raises:
        TrainingError: this installation has no site, or the folder has something else.
    """
    if not (site / FIRST_PAGE).is_file():
        fix = "use a trainer image, or run 'make docs' in a clone and open build/docs/index.html"
        raise TrainingError("the docs are not in this installation", where=site, expected=FIRST_PAGE, fix=fix)
    if os.path.lexists(target):
        if target.is_symlink() or _files(target) != _files(site):
            fix = "move it away, or name another folder with --to"
            raise TrainingError(
                "something else is there", where=target, expected="no such folder, or these docs", fix=fix
            )
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        copy = Path(name, target.name)
        copy.mkdir()
        for path in sorted(site.rglob("*")):
            place = copy / path.relative_to(site)
            if path.is_dir():
                place.mkdir()
            else:
                shutil.copyfile(path, place)  # without the mode: the owner may remove the copy
        copy.rename(target)
    return str(target)


def _files(folder: Path) -> dict[str, bytes | None]:
    """Return the content of each file, and None for each folder and anything else in it, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in (folder, *folder.rglob("*"))
    }
