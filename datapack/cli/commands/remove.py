"""`datapack remove`: remove what this machine has of a version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, add_reference, console, workspace

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_EXAMPLES = (
    "datapack remove reef@v1                # show what would be removed, and the space it frees",
    "datapack remove reef@v1 --yes          # remove it",
    "datapack remove reef@v1 --dist --yes   # only the image; a build makes it again",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "remove", run, summary="remove what this machine has of a version", examples=_EXAMPLES
    )
    add_reference(parser, ", also of one that the catalog no longer has")
    parser.add_argument("--yes", action="store_true", help="remove it; without this option, nothing is changed")
    parts = parser.add_argument_group("what to remove (default: all three)")
    parts.add_argument(
        "--bag", action="store_true", help="the bag, what unfinished fetches left, and the report of failures"
    )
    parts.add_argument(
        "--cache",
        action="store_true",
        help="the objects in DVC's cache that no other version needs, in the working tree, in any branch's last "
        "commit, or in the lock, and the list of its files in .datapack/",
    )
    parts.add_argument(
        "--dist",
        action="store_true",
        help="dist/<name>-<version>/, its provenance, SBOM, report, metadata and rehearsals, and half-written ones",
    )
    parser.add_argument(
        "--forget",
        action="store_true",
        help="also remove DVC's pointer and the entry in datasets.lock, of a version that datasets.yml no longer has",
    )
    parser.add_argument("--only-copy", action="store_true", help="remove it even if no other copy is known")


def run(options: argparse.Namespace) -> Answer:
    """Remove a version, or say what would be removed."""
    from datapack.reference import Reference
    from datapack.versions.remove import RemoveOptions, plan_removal, remove, table

    here, reference = workspace(options), Reference.parse(options.reference)
    chosen = RemoveOptions(options.bag, options.cache, options.dist, options.forget, options.only_copy)
    removal = (remove if options.yes else plan_removal)(here, reference, chosen, console(options))
    lines = table(removal, here.root, done=options.yes).split("\n")
    if not options.yes and (removal.parts or removal.forget):
        lines.append("Nothing was changed: add --yes to do it.")
    refused = removal.is_only_copy and not options.only_copy
    return Answer({**removal.to_json(), "done": options.yes}, lines, status=1 if refused else 0)
