"""Fill the reference of the commands, ``docs/reference/commands.md``: ``python -m datapack.cli.reference``.

It takes the page on standard input, and replaces what is made from the parser.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from datapack.cli.options import COMMON
from datapack.cli.parser import make_parser
from datapack.markdown import filled, marked, table

if TYPE_CHECKING:
    from collections.abc import Iterator


def parts() -> dict[str, str]:
    """Return what the parser says: of the options of every command, and of each command, by its name."""
    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    found = {f"datapack {name}": "\n".join(_command(command)) for name, command in commands.choices.items()}
    return {COMMON: "".join(_tables(parser)), **found}


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"{marked(parser.description or '')}\n"
    yield f"```text\n{_synopsis(parser)}\n```\n"
    yield from _tables(parser)
    if parser.epilog:
        title, *lines = parser.epilog.splitlines()
        yield f"{title.capitalize()}\n"
        yield from ["```sh", *(line.removeprefix("  ") for line in lines), "```"]


def _synopsis(parser: argparse.ArgumentParser) -> str:
    """Return the usage in short: it names only the arguments, and the options that are required."""
    if parser.usage:
        return parser.usage.replace(" [-h]", "")
    actions = [action for action in parser._actions if action.required or not action.option_strings]
    arguments = (
        f"[{_value(action)}]"
        if action.nargs == argparse.OPTIONAL
        else " ".join([*action.option_strings, _value(action)])
        for action in sorted(actions, key=lambda action: bool(action.option_strings))
    )
    return f"{parser.prog} [OPTION ...] {' '.join(arguments)}".strip()


def _tables(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a table for each group of arguments and options; those of every command are in one place."""
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not _is_elsewhere(action)]
        if not actions or (group.title == COMMON) != (parser.prog == "datapack"):
            continue
        kind = "option" if actions[0].option_strings else "argument"
        if group.title not in {"positional arguments", "options", COMMON}:
            yield f"{str(group.title).capitalize()}:\n"
        yield table((kind, "meaning"), ((_names(action), _meaning(parser, action)) for action in actions))


def _is_elsewhere(action: argparse.Action) -> bool:
    return isinstance(action, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction)


def _names(action: argparse.Action) -> str:
    *others, last = action.option_strings or [_value(action)]
    value = f" {_value(action)}" if action.option_strings and action.nargs != 0 else ""
    return ", ".join(f"`{name}`" for name in (*others, f"{last}{value}"))


def _value(action: argparse.Action) -> str:
    """Return the name of an action's value, or the values that it can have."""
    if action.metavar is None and action.choices is not None:
        return f"{{{','.join(map(str, action.choices))}}}"
    return str(action.metavar or action.dest.upper())


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = marked(parser._get_formatter()._expand_help(action))
    return f"required: {text}" if action.required and action.option_strings else text


if __name__ == "__main__":
    sys.stdout.write(filled(sys.stdin.read(), parts()))
