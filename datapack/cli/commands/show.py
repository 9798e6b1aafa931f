"""`datapack show`: everything that is known about a version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, add_reference, workspace

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_EXAMPLES = ("datapack show reef@v1", "datapack show reef@v1 --json | jq -r .lock.digest")


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "show", run, summary="show everything that is known about a version", examples=_EXAMPLES
    )
    add_reference(parser, ", also of one that the catalog no longer has")


def run(options: argparse.Namespace) -> Answer:
    """Show a version."""
    from datapack.reference import Reference
    from datapack.versions.show import show, table

    here = workspace(options)
    found = show(here, Reference.parse(options.reference))
    return Answer(found.to_json(), table(found, here.root))
