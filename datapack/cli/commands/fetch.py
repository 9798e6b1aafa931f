"""`datapack fetch`: get the data of a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, add_fetch_options, console, short, workspace
from datapack.text import counted, size

if TYPE_CHECKING:
    import argparse

    from datapack.bag.bagit import Bag
    from datapack.cli.options import Commands

_EXAMPLES = (
    "datapack fetch reef@v1",
    "datapack fetch reef@v1 --push-data    # also send the bag to DVC's remote",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "fetch", run, summary="fetch a version as a bag and track it with DVC", examples=_EXAMPLES
    )
    add_fetch_options(parser)


def run(options: argparse.Namespace) -> Answer:
    """Fetch a version."""
    from datapack.fetch.job import FetchOptions
    from datapack.fetch.version import fetch
    from datapack.reference import Reference

    here, reference = workspace(options), Reference.parse(options.reference)
    chosen = FetchOptions(options.refresh, options.update_lock, options.push_data, options.strict)
    bag = fetch(here, reference, chosen, console(options))
    lines = [
        f"fetched    {reference}: {amount(bag)}",
        f"dataset    {bag.manifest.digest}",
        f"bag        {short(bag.path)}",
    ]
    return Answer({"reference": str(reference), **facts(bag)}, lines)


def amount(bag: Bag) -> str:
    """Format the size of a bag."""
    return f"{counted(bag.files, 'file')}, {size(bag.bytes)}"


def facts(bag: Bag) -> dict[str, Any]:
    """Return what identifies a bag, for JSON."""
    return {"digest": bag.manifest.digest, "files": bag.files, "bytes": bag.bytes, "bag": str(bag.path)}
