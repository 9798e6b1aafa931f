"""`datapack base`: pin the catalog's base by digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, workspace

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_EXAMPLES = ("datapack base", "datapack base docker.io/library/alpine:3.22")


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "base",
        run,
        summary="pin the catalog's base by the digest that its registry has now",
        examples=_EXAMPLES,
    )
    parser.add_argument("image", metavar="NAME:TAG", nargs="?", help="pin this image instead of the catalog's")


def run(options: argparse.Namespace) -> Answer:
    """Pin the catalog's base by digest."""
    from datapack.image.pin import pin

    pinned = pin(workspace(options), options.image)
    lines = [f"unchanged: the base is {pinned.new}"]
    if pinned.new != pinned.old:
        note = "Versions built on the old base need --update-lock at their next build."
        lines = [f"old base {pinned.old}", f"new base {pinned.new}", note]
    return Answer(vars(pinned), lines)
