"""What keeps the versions: git for the catalog and the lock, DVC for the data."""

from __future__ import annotations

import shutil
from importlib import metadata
from typing import TYPE_CHECKING

from datapack.catalog.git import is_ignored, uncommitted
from datapack.doctor.result import Result, note, ok, problem
from datapack.fetch.dvc.settings import check_remote, check_settings, read_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.doctor.place import Place

_KEPT = ("datasets.yml", "datasets.lock", ".gitignore", "data", ".dvc")  # except what git ignores in them
_OURS = (".datapack", "dist")  # folders that datapack writes, and that nobody should commit
_SHOWN = 3


def git(place: Place) -> Iterator[Result]:
    """Check that what belongs in git is in git, and the rest is not."""
    if not place.workspace:
        if not shutil.which("git"):
            yield note("git", "not installed", "install git, to keep the catalog and the lock")
        return
    if not shutil.which("git"):
        yield note("git", "not installed, so nothing keeps the catalog and the lock", "install git, run 'git init'")
        return
    root = place.root
    changed = uncommitted(root, _KEPT)
    if changed is None:
        if any((folder / ".git").exists() for folder in (root, *root.parents)):
            yield problem("git", f"git can't read the repository of {root}", "run 'git status' there: it says why")
        else:
            yield note("git", f"not a repository: {root}", "run 'git init', to keep the catalog and the lock")
        return
    if ignored := [name for name in _KEPT[:2] if (root / name).exists() and is_ignored(root / name)]:
        yield problem("git", f"git ignores {' and '.join(ignored)}", "change .gitignore: others need these files")
    elif changed:
        names = ", ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN:,} more" if changed[_SHOWN:] else "")
        fix = f"git add {' '.join(name for name in _KEPT if (root / name).exists())} && git commit"
        yield note("git", f"not committed: {names}", fix)
    else:
        yield ok("git", "the catalog, the lock and DVC's pointers are committed")
    if open_to_git := [name for name in _OURS if (root / name).is_dir() and not is_ignored(root / name)]:
        lines = " and ".join(f"/{name}/" for name in open_to_git)
        yield note("git", f"git does not ignore {' and '.join(open_to_git)}", f"add {lines} to .gitignore")


def dvc(place: Place) -> Iterator[Result]:
    """Check that DVC is here, can be used as it is configured, and has a remote."""
    try:
        version = f"DVC {metadata.version('dvc')}"
    except metadata.PackageNotFoundError:
        yield problem("dvc", "not installed", "run 'pip install --upgrade datapack' where it is installed")
        return
    if not place.workspace:
        yield ok("dvc", version)
        return
    check_settings(place.root)
    remote = read_setting(place.root, "core", "remote")
    if not remote:
        fix = "dvc remote add --default NAME URL; then 'datapack fetch REF --push-data'"
        yield note("dvc", f"{version}, no default remote: the data is only on this machine", fix)
        return
    check_remote(place.root)
    yield ok("dvc", f"{version}, default remote {remote}")
