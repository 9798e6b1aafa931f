"""Shell completion: a script for a shell that completes commands, options, references and paths."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")
_REFERENCES = dict.fromkeys(SHELLS, "_datapack_references")  # functions in completion.bash and completion.zsh
_REFERENCES_OR_FILES = dict.fromkeys(SHELLS, "_datapack_references_or_files")
_TARGETS = dict.fromkeys(SHELLS, "_datapack_targets")
_NOTHING = {"zsh": "_nothing"}  # without it, zsh would offer no option in the place of an argument


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a script that completes every command of a parser in ``shell``, one of `SHELLS`."""
    ours = Path(__file__).with_name(f"completion.{shell}").read_text("utf-8")
    if shell == "fish":
        from datapack.cli.fish import fish_lines

        return "\n".join([ours, *fish_lines(parser), ""])
    import shtab

    by_metavar = {
        "DIR": shtab.DIRECTORY,
        "FILE": shtab.FILE,
        "REF": _REFERENCES,
        "A": _REFERENCES,
        "B": _REFERENCES,
        "WHAT": _REFERENCES_OR_FILES,
        "TARGET": _TARGETS,
    }
    for action in _actions(parser):
        other = None if action.option_strings or action.choices is not None else _NOTHING
        if complete := by_metavar.get(str(action.metavar), other):
            action.complete = complete  # type: ignore[attr-defined] # shtab reads it
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
