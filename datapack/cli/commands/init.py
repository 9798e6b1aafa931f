"""`datapack init`: start a catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_NOW = ("datasets.yml", ".gitignore")
_LATER = ("datasets.lock", "data", ".dvc")  # git ignores the data itself, which DVC keeps
_EXAMPLES = ("datapack init", "datapack init my-data")


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "init", run, summary="create a catalog, datasets.yml, in a folder", examples=_EXAMPLES
    )
    parser.add_argument("where", metavar="DIR", nargs="?", type=Path, default=Path(), help="the folder (default: this)")
    parser.set_defaults(makes_folder=True)


def run(options: argparse.Namespace) -> Answer:
    """Create a catalog."""
    from datapack.catalog.template import EXAMPLE, init

    folder = (options.folder / options.where).resolve()
    outer = _outer(folder)
    written = init(folder)
    lines = [f"wrote {path}" for path in written]
    if outer:
        lines.append(f"In this folder, datapack now uses this catalog instead of the one in {outer}")
    lines += [
        f"Edit datasets.yml, then run: datapack build {EXAMPLE}@v1",
        f"Commit now:                  git add {' '.join(_NOW)}",
        f"Commit after each build:     git add {' '.join(_LATER)}",
    ]
    commit = {"now": list(_NOW), "after_each_build": list(_LATER)}
    return Answer({"folder": str(folder), "written": [str(path) for path in written], "commit": commit}, lines)


def _outer(folder: Path) -> Path | None:
    """Return the folder of the catalog that counts here so far."""
    from datapack.errors import CatalogError
    from datapack.workspace.folder import Workspace

    try:
        return Workspace.find(folder.parent).root
    except CatalogError:
        return None
