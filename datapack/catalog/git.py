"""Git: the commit of the catalog, and what git ignores. That git is absent is never an error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


_TIMEOUT = 60  # seconds: a repository on a hanging disk must not block a build
_SCHEMES = {"git", "http", "https", "ssh"}  # of repositories that others can reach too
_SHORT_FORM = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]+):/?(?P<path>\S+)")  # user@host:path, as in ssh
_OF_A_HOOK = {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}  # set in a git hook, for the hook's own repository


@dataclass(frozen=True)
class Commit:
    """The last commit that touched a file."""

    id: str
    path: str  # of the file, below the top of the repository
    changed: bool  # whether the file differs from HEAD
    remote: str  # the repository's URL, git+https://... without credentials; empty if not known


def last_commit(file: Path) -> Commit | None:
    """Find the last commit that touched a file.

    Commits of other files do not count: committing ``datasets.lock`` does not change the catalog's commit.

    Returns:
        The commit, or None without git, outside a repository, or if no commit has the file.
    """
    file = file.resolve()
    identity = _git(file, "rev-list", "--max-count=1", "HEAD", "--", file.name)
    changes = _git(file, "status", "--porcelain", "--untracked-files=no", "--", file.name)
    folder = _git(file, "rev-parse", "--show-prefix")
    if not identity or changes is None or folder is None:
        return None
    remote = _git(file, "config", "--get", "remote.origin.url")
    return Commit(identity, f"{folder}{file.name}", bool(changes), _public(remote or ""))


def checkout_of(file: Path) -> str | None:
    """Return the commit that the folder of a file is a checkout of, with '+' if a file below the folder was changed.

    None without git, outside a repository, or if the file is in none of its commits.
    """
    file = file.resolve()
    identity = _git(file, "rev-parse", "HEAD") if _git(file, "ls-files", "--error-unmatch", file.name) else None
    changes = _git(file, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return None if not identity or changes is None else f"{identity}{'+' if changes else ''}"


def commit_date(file: Path, commit: str) -> str | None:
    """Return the day of a commit in the repository of a file, as the person who committed it wrote it: 2026-11-27."""
    written = _git(file.resolve(), "rev-list", "--max-count=1", "--format=%cs", commit)
    return written.splitlines()[-1] if written else None


def commit_of(folder: Path, name: str) -> str | None:
    """Return the full id of the commit that a branch, a tag or an id names; None if there is none."""
    if name.startswith("-"):  # git would take it as an option
        return None
    return _git(folder / "any", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def content_at(file: Path, commit: str) -> str | None:
    """Return what a file contained in a commit, or None if it was not there."""
    return _git(file.resolve(), "show", f"{commit}:./{file.name}")


def first_day_of(file: Path, text: str) -> str | None:
    """Return the day, such as 2026-11-27, of the first commit that brought a text into a file.

    None without git, outside a repository, or if no commit has the text.
    """
    days = _git(file.resolve(), "log", "--format=%cs", "-S", text, "--", file.name)
    return days.split()[-1] if days else None


def found_in_branches(folder: Path, pattern: str, names: Iterable[str]) -> list[str]:
    """Return what a pattern of ``git grep -E`` finds in the last commit of any branch, here or fetched from elsewhere.

    Args:
        folder: in the repository.
        pattern: the pattern.
        names: pathspecs of git, relative to the folder.
    """
    inside = folder / "any"
    commits = _git(inside, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes")
    if not commits:
        return []
    found = _git(inside, "grep", "-h", "-o", "-a", "-E", pattern, *sorted(set(commits.split())), "--", *names)
    return found.split() if found else []


def is_ignored(path: Path) -> bool:
    """Whether git ignores a file or folder; False without git or outside a repository."""
    return _git(path, "check-ignore", "--quiet", path.name) is not None


def uncommitted(folder: Path, names: Iterable[str]) -> list[str] | None:
    """Return what git lists as new or changed among files and folders of a folder; None without git or a repository."""
    inside = folder / "any"
    listed = _git(inside, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *names)
    prefix = _git(inside, "rev-parse", "--show-prefix")
    if listed is None or prefix is None:
        return None
    return [line.strip().partition(" ")[2].strip().removeprefix(prefix) for line in listed.split("\0") if line]


def tracked_files(folder: Path) -> list[str] | None:
    """Return the files of a folder that git tracks; None without git or outside a repository."""
    listed = _git(folder, "ls-files", "--", folder.name)
    return None if listed is None else listed.splitlines()


def _git(file: Path, *arguments: str) -> str | None:
    """Run git in the file's folder; return its output, or None if it failed."""
    program = shutil.which("git")
    if program is None:
        return None
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(
            [program, *arguments],
            cwd=file.parent,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _public(remote: str) -> str:
    """Return a remote's URL without credentials; a path on this machine means nothing to others, so it gives ``""``."""
    if "://" not in remote:
        short = _SHORT_FORM.fullmatch(remote)
        remote = f"ssh://{short['host']}/{short['path']}" if short else ""
    parts = urlsplit(hide_secrets(remote))
    return f"git+{parts._replace(query='', fragment='').geturl()}" if parts.scheme in _SCHEMES else ""
