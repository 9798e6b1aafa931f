"""`datapack build`: make the import container of a version."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.commands.fetch import amount, facts
from datapack.cli.options import BASE, INSECURE, add_command, add_fetch_options, console, short, workspace
from datapack.errors import UsageError

if TYPE_CHECKING:
    from datapack.api.results import Built
    from datapack.cli.options import Commands

_EXAMPLES = (
    "datapack build reef@v1                          # into dist/reef-v1",
    "datapack build reef@v1 oci-archive:reef.tar     # into one file",
    "datapack build reef@v1 docker-daemon:           # into Docker or Podman",
    "datapack build detector@v1 --runnable oci:pyt   # a model on a trainer image, ready to run",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "build", run, summary="fetch a version and build its import container", examples=_EXAMPLES
    )
    forms = "oci-archive:FILE, or - for a pipe; docker-daemon:[NAME:TAG]; docker://[REGISTRY/NAME:TAG]"
    add_build_options(parser, f"oci:DIR (default: oci:dist/<name>-<version>); {forms}")


def add_build_options(parser: argparse.ArgumentParser, target: str) -> None:
    """Add the options of a build; ``target`` says what its target can be."""
    add_fetch_options(parser)
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help=f"{target}; a path in it is relative to the catalog's folder"
    )
    parser.add_argument("--to", dest="to", metavar="TARGET", help="the target, as an option")
    parser.add_argument("--base", help=BASE)
    parser.add_argument(
        "--runnable",
        metavar="BASE",
        help="of a model: instead of an import container, a ready-to-run image on this trainer image, "
        "NAME:TAG@sha256:... or oci:DIR; by default its names end with '-run': dist/<name>-<version>-run, "
        "<name>-run:<version>",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read every file again, even those that did not change since they were hashed, and the layers that an "
        "'oci:' target already has",
    )
    registry = parser.add_argument_group("registry options")
    registry.add_argument(
        "--streams", type=_count, default=4, metavar="N", help="number of parallel uploads (default: %(default)s)"
    )
    registry.add_argument("--insecure", action="store_true", help=INSECURE)
    registry.add_argument(
        "--replace",
        action="store_true",
        help="replace another image with the same name and tag; without it, the status is 3",
    )
    registry.add_argument(
        "--allow-public", action="store_true", help="push a private dataset even if everybody can read the repository"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> Answer:
    """Build an import container, or a ready-to-run image."""
    made = built(options, target(options))
    lines = [
        f"built      {made.reference}: {amount(made)}",
        f"dataset    {made.digest}",
        f"image      {made.image}{', ready to run' if made.runnable else ''}",
        f"target     {made.target.replace(f'{workspace(options).root}/', '')}",
        f"provenance {short(made.provenance)}",
    ]
    return Answer(value(made), lines)


def target(options: argparse.Namespace) -> str | None:
    """Return the target, which can be an argument or the value of ``--to``."""
    given: list[str] = [text for text in (options.target, options.to) if text is not None]
    if len(given) > 1:
        raise UsageError("two targets", where=options.reference, found=" and ".join(given), fix="name one")
    return given[0] if given else None


_PASSED = (
    *("base", "runnable", "refresh", "update_lock", "verify", "push_data"),
    *("strict", "streams", "insecure", "replace", "allow_public"),
)


def built(options: argparse.Namespace, target: str | None) -> Built:
    """Build the image that the options ask for."""
    from datapack.api.making import build

    chosen = {name: getattr(options, name) for name in _PASSED}
    return build(options.reference, target, **chosen, catalog=options.folder, progress=console(options))


def value(made: Built) -> dict[str, Any]:
    """Return what was built, for JSON."""
    where = {"target": made.target, "provenance": str(made.provenance)}
    kind = {"runnable": True} if made.runnable else {}
    return {**facts(made), "image": made.image, **kind, **where}
