"""Shell completion: a script for bash or zsh that completes commands, options, references and paths."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = ("bash", "zsh")
_REFERENCES = dict.fromkeys(SHELLS, "_datapack_references")  # functions in completion.bash and completion.zsh
_REFERENCES_OR_FILES = dict.fromkeys(SHELLS, "_datapack_references_or_files")


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a script that completes every command of a parser in ``shell``, one of `SHELLS`."""
    import shtab

    by_metavar = {
        "DIR": shtab.DIRECTORY,
        "FILE": shtab.FILE,
        "REF": _REFERENCES,
        "A": _REFERENCES,
        "B": _REFERENCES,
        "WHAT": _REFERENCES_OR_FILES,
    }
    for action in _actions(parser):
        if action.metavar in by_metavar:
            action.complete = by_metavar[action.metavar]  # type: ignore[attr-defined] # shtab reads it
    ours = Path(__file__).with_name(f"completion.{shell}").read_text("utf-8")
    if shell == "bash":  # it wraps shtab's function, so it comes last
        return f"{shtab.complete(parser, shell)}\n{ours}"
    return f"{shtab.complete(parser, shell, preamble=ours)}\n"


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every option and argument of a parser and of its commands."""
    for action in parser._actions:  # argparse has no public way to list them
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
