"""The DVC repository of a workspace: made where there is none, complete or not at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from datapack.errors import VersioningError
from datapack.fetch.dvc.settings import find_repository, read_setting, write_local_setting
from datapack.files import atomic_writer, disk_errors, share_blocks, temporary_file

if TYPE_CHECKING:
    from pathlib import Path

_IGNORED = "/config.local\n/tmp\n/cache\n"


def set_up(root: Path) -> None:
    """Make a DVC repository if there is none, and choose a type of link that the disk supports if nobody has.

    Raises:
        VersioningError: the disk can't be written to.
    """
    with disk_errors(root / ".dvc", VersioningError):
        repository = find_repository(root) or _create(root)
        if read_setting(root, "cache", "type"):
            return
        # Without reflinks, hardlink must come first: DVC copies if it can't make the first type of link.
        links = "reflink,hardlink,copy" if supports_reflinks(repository) else "hardlink,copy"
        content = write_local_setting(repository, "cache", "type", links)
        with atomic_writer(repository / "config.local") as file:
            if (repository / "config.local").exists():  # it may hold passwords
                shutil.copymode(repository / "config.local", file.name)
            file.write(content)


def _create(root: Path) -> Path:
    """Do what ``dvc init`` does, but so that a kill leaves no half of a repository."""
    repository, partial = root / ".dvc", root / ".dvc.partial"
    if partial.exists():  # left behind by a kill
        shutil.rmtree(partial)
    partial.mkdir()
    inside_git = any((folder / ".git").exists() for folder in (root, *root.parents))
    for name, content in (("config", "" if inside_git else "[core]\n    no_scm = True\n"), (".gitignore", _IGNORED)):
        with atomic_writer(partial / name) as file:
            file.write(content.encode())
    partial.rename(repository)
    return repository


def supports_reflinks(folder: Path) -> bool:
    """Whether two files on this disk can share blocks."""
    with temporary_file(folder) as (first, _), temporary_file(folder) as (second, _):
        first.write(bytes(4096))
        first.flush()
        try:
            share_blocks(first.fileno(), second.fileno())
        except OSError:
            return False
        return True
