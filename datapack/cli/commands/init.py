"""`datapack init`: start a catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_EXAMPLES = ("datapack init", "datapack init my-data")


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "init", run, summary="create a catalog, datasets.yml, in a folder", examples=_EXAMPLES
    )
    parser.add_argument("where", metavar="DIR", nargs="?", type=Path, default=Path(), help="the folder (default: this)")
    parser.set_defaults(makes_folder=True)


def run(options: argparse.Namespace) -> Answer:
    """Create a catalog."""
    from datapack.catalog.template import init

    folder = (options.folder / options.where).resolve()
    written = init(folder)
    lines = [*(f"wrote {path}" for path in written), "Edit datasets.yml, then run: datapack build <name>@<version>"]
    return Answer({"folder": str(folder), "written": [str(path) for path in written]}, lines)
