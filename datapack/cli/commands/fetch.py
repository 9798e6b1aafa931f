"""`datapack fetch`: get the data of a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, add_fetch_options, console, short
from datapack.text import counted, size

if TYPE_CHECKING:
    import argparse

    from datapack.api.results import Fetched
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
    from datapack.api.making import fetch

    chosen = {name: getattr(options, name) for name in ("refresh", "update_lock", "push_data", "strict")}
    fetched = fetch(options.reference, **chosen, catalog=options.folder, progress=console(options))
    lines = [
        f"fetched    {fetched.reference}: {amount(fetched)}",
        f"dataset    {fetched.digest}",
        f"bag        {short(fetched.bag)}",
    ]
    return Answer(facts(fetched), lines)


def amount(fetched: Fetched) -> str:
    """Format the size of a version."""
    return f"{counted(fetched.files, 'file')}, {size(fetched.bytes)}"


def facts(fetched: Fetched) -> dict[str, Any]:
    """Return what identifies a version, for JSON."""
    return {
        "reference": fetched.reference,
        "digest": fetched.digest,
        "files": fetched.files,
        "bytes": fetched.bytes,
        "bag": str(fetched.bag),
    }
