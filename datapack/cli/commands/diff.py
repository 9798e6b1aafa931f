"""`datapack diff`: compare two versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, console, workspace
from datapack.progress import Level

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_EXAMPLES = ("datapack diff reef@v1 reef@v2", "datapack diff reef@v1 reef@v2 --all")


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "diff",
        run,
        summary="compare two versions: their files, their layers, and what a push costs",
        examples=_EXAMPLES,
    )
    parser.add_argument("before", metavar="A", help="name@version: what a registry or a user has")
    parser.add_argument("after", metavar="B", help="name@version: what should replace it")
    parser.add_argument("--all", dest="all_names", action="store_true", help="name every file, as -v does")


def run(options: argparse.Namespace) -> Answer:
    """Compare two versions."""
    from datapack.build.diff import diff, table
    from datapack.reference import Reference

    before, after = Reference.parse(options.before), Reference.parse(options.after)
    found = diff(workspace(options), before, after, console(options))
    return Answer(found.to_json(), table(found, options.all_names or options.level is Level.VERBOSE).split("\n"))
