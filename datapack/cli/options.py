"""The options: the parser of a command, and what several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.progress import Console, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from datapack.cli.answer import Answer
    from datapack.workspace.folder import Workspace

    Command = Callable[[argparse.Namespace], Answer]
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

SHOWN = 20  # lines of a list that may be long, without -v
COMMON = "options of every command"
INSECURE = "accept plain http and untrusted certificates of a registry; one on loopback may use http without it"
BASE = "use this base instead of the catalog's: NAME:TAG@sha256:... or oci:DIR"


def add_command(
    commands: Commands, name: str, command: Command, *, summary: str, examples: Sequence[str], usage: str | None = None
) -> argparse.ArgumentParser:
    """Add a command, and return its parser. ``command`` gets the parsed options and returns an answer.

    Args:
        commands: where to add it.
        name: the command's name.
        command: the function that runs it.
        summary: one line, for ``datapack --help``.
        examples: command lines, shown at the end of the command's own help; each can have a comment after ``  #``.
        usage: the usage, where the generated one is not clear.
    """
    sentence = f"{summary[0].upper()}{summary[1:]}."
    epilog = "\n".join(["examples:", *(f"  {line}" for line in examples)])
    parser = commands.add_parser(name, help=summary, description=sentence, epilog=epilog, usage=usage)
    parser.set_defaults(command=command)
    return parser


def add_common(parser: argparse.ArgumentParser, *, given_only: bool = False) -> None:
    """Add the options that work before and after the command; one given after it replaces one given before it."""

    def default(value: object) -> object:
        return argparse.SUPPRESS if given_only else value

    common = parser.add_argument_group(COMMON)
    common.add_argument(
        "-C",
        "--directory",
        dest="folder",
        metavar="DIR",
        type=Path,
        default=default(Path()),
        help="run as if started in this folder (default: %(default)s)"
        if not given_only
        else "run as if started in this folder",
    )
    common.add_argument(
        "--json", action="store_true", default=default(False), help="print one JSON document on standard output"
    )
    for short_name, name, level, text in (
        ("-q", "--quiet", Level.QUIET, "no progress and no notes; the answer, errors and boxed warnings stay"),
        (
            "-v",
            "--verbose",
            Level.VERBOSE,
            "whole lists instead of the first 20 lines, how long each step took, and what DVC says",
        ),
    ):
        common.add_argument(
            short_name, name, dest="level", action="store_const", const=level, default=default(Level.NORMAL), help=text
        )


def add_reference(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add the version that a command is about; ``more`` says what else it can be."""
    parser.add_argument("reference", metavar="REF", help=f"name@version{more}")


def add_folder(parser: argparse.ArgumentParser, ending: str) -> None:
    """Add the option for the folder that a command writes; the ending is that of the default one beside the image."""
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help=f"the folder, empty or one that this command wrote (default: dist/<name>-<version>.{ending})",
    )


def add_fetch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that fetches a version."""
    add_reference(parser)
    parser.add_argument("--refresh", action="store_true", help="fetch from the sources again, even if the bag is here")
    parser.add_argument("--update-lock", action="store_true", help="accept a result that differs from datasets.lock")
    parser.add_argument("--push-data", action="store_true", help="send the bag to DVC's default remote")
    parser.add_argument(
        "--strict", action="store_true", help="fail if 'datapack check' finds errors or warnings; no image is then made"
    )


def workspace(options: argparse.Namespace) -> Workspace:
    """Find the workspace."""
    from datapack.workspace.folder import Workspace

    return Workspace.find(options.folder)


def workspace_if_any(options: argparse.Namespace) -> Workspace | None:
    """Find the workspace, or return None outside one."""
    from datapack.workspace.folder import Workspace

    return Workspace.find_if_any(options.folder)


def path_of(options: argparse.Namespace, name: str) -> Path | None:
    """Return the path that an option gives, from the folder of ``-C``; None if it is not given."""
    path: Path | None = getattr(options, name)
    return None if path is None else (options.folder / path).resolve()


def console(options: argparse.Namespace) -> Console:
    """Return what shows notes and progress, as much of them as was asked for."""
    return Console(level=options.level)


def shortened(lines: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Return the first `SHOWN` lines of a list and how many more there are, or with -v all of them."""
    if options.level is Level.VERBOSE or len(lines) <= SHOWN:
        return list(lines)
    return [*lines[:SHOWN], f"  and {len(lines) - SHOWN:,} more; -v lists them"]


def short(path: Path) -> str:
    """Return a path relative to the current folder if it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
