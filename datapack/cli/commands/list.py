"""`datapack list`: the state of every version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, workspace

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_EXAMPLES = (
    "datapack list",
    "datapack list --names              # only the references, for scripts",
    "datapack list --since main         # what a branch adds or changes",
    "datapack list --json | jq '.versions[] | select(.fetched) | .reference'",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "list", run, summary="list all versions: what is fetched, versioned and built", examples=_EXAMPLES
    )
    parser.add_argument(
        "--since",
        metavar="COMMIT",
        help="only versions that are new since a commit of git, or of which the catalog or the lock says something "
        "else now",
    )
    parser.add_argument("--names", action="store_true", help="print only the references, name@version, one per line")


def run(options: argparse.Namespace) -> Answer:
    """List all versions."""
    from datapack.catalog.model import Catalog

    here = workspace(options)
    catalog = Catalog.read(here.catalog)
    chosen = [entry.reference for entry in catalog.entries()]
    if options.since is not None:
        from datapack.catalog.changed import changed_since

        chosen = changed_since(here, options.since)
    if options.names:
        names = [str(reference) for reference in chosen]
        return Answer({"names": names}, names)
    from datapack.catalog.lock import Lock
    from datapack.versions.listing import rows, table

    found = [row for row in rows(here, catalog, Lock.read(here.lock)) if row.reference in chosen]
    return Answer({"versions": [row.to_json() for row in found]}, table(found).split("\n"))
