"""`datapack push`: make the import container of a version in a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.commands.build import add_build_options, built, target, value
from datapack.cli.commands.fetch import amount
from datapack.cli.options import add_command, short
from datapack.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_REGISTRY = "docker://"
_EXAMPLES = (
    "datapack push reef@v1                             # to the catalog's registry",
    "datapack push reef@v1 docker://ghcr.io/you/reef",
    "datapack push reef@v1 docker://localhost:5000/reef --insecure",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "push",
        run,
        summary="build a version directly into a registry and print the commands to pull it",
        examples=_EXAMPLES,
    )
    default = "(default: 'defaults.registry' of the catalog, the dataset's name, and its version as the tag)"
    add_build_options(parser, f"{_REGISTRY}REGISTRY/NAME[:TAG] {default}")


def run(options: argparse.Namespace) -> Answer:
    """Build an import container in a registry, and return the commands to pull it."""
    from datapack.registry import ImageName

    chosen = _REGISTRY if (given := target(options)) is None else given
    if not chosen.startswith(_REGISTRY):
        raise UsageError("not a registry", where=chosen, expected="docker://REGISTRY/NAME[:TAG]")
    made = built(options, chosen)
    name = ImageName.parse(made.target.removeprefix(_REGISTRY))
    tagged = f"{name.path}:{name.tag}"
    runnable = made.runnable
    commands = [f"ces-pull GITHUB_USER TOKEN {tagged}", f"{'ces-gpu-run' if runnable else 'ces-run'} {tagged}"]
    expected = "PREDICTION OK" if runnable else f"IMPORT OK {made.reference} {made.digest}"
    lines = [
        f"pushed     {made.reference}: {amount(made)}",
        f"dataset    {made.digest}",
        f"image      {name.path}@{name.digest}",
        f"provenance {short(made.provenance)}",
        "",
        "Run this in the Safe Haven, with images in /safe_data:"
        if runnable
        else "The data manager runs this in the Safe Haven:",
        *(f"  {command}" for command in commands),
        f"The log must end with: {expected}{' RUN ...' if runnable else ''}",
    ]
    return Answer({**value(made), "commands": commands, "last_line": expected}, lines)
