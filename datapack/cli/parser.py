"""The command line: its parser, which knows every command, and says what a mistyped word was meant to be."""

from __future__ import annotations

import argparse
import itertools
import shutil
from typing import TYPE_CHECKING, NoReturn

from datapack import __version__
from datapack.cli.commands import (
    base,
    build,
    check,
    completion,
    convert,
    diff,
    doctor,
    fetch,
    ingress,
    init,
    metadata,
    plan,
    push,
    remove,
    report,
    run,
    show,
    sign,
    verify,
)
from datapack.cli.commands import list as list_
from datapack.cli.options import add_common
from datapack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The modules of the commands, in the order in which a newcomer needs them; each has `add` and `run`.
COMMANDS = (
    init,
    list_,
    show,
    plan,
    fetch,
    check,
    report,
    metadata,
    build,
    push,
    run,
    verify,
    sign,
    ingress,
    diff,
    base,
    convert,
    remove,
    doctor,
    completion,
)
_WIDEST = 100  # columns of the help
_EXAMPLES = """\
examples:
  datapack init                  # start a catalog here, with an example
  datapack build my-dataset@v1   # fetch the data, build its import container
  datapack push my-dataset@v1    # into a registry, with what to do next
  datapack build --help          # all about one command"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands; each sets ``command`` to the function that runs it."""
    parser = _Parser(
        prog="datapack",
        description="Turn a dataset into a verified import container for a Trusted Research Environment.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"datapack {__version__}")
    add_common(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in COMMANDS:
        module.add(commands)
    for command in commands.choices.values():
        add_common(command, given_only=True)
    parser.set_defaults(parser=parser, takes_arguments=False, makes_folder=False)
    return parser


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


class _Formatter(argparse.HelpFormatter):
    """Help of at most 100 columns; the lines of examples stay as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(shutil.get_terminal_size().columns, _WIDEST) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:\n") else super()._fill_text(text, width, indent)


class _Parser(argparse.ArgumentParser):
    """Raises `UsageError` for a wrong command line, with the nearest command or option."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"formatter_class": _Formatter, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, fix=self._see())

    def parse_known_args(  # type: ignore[override] # argparse's overloads say the same of any class of namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and raise an error for what is left. Each command does it for its own options, which it knows."""
        for word in itertools.takewhile(_is_option, args or ()):  # the value of an unknown one would seem a command
            if word.startswith("--") and not any(name.startswith(word.partition("=")[0]) for name in self._options()):
                raise self._no_such_option(word)
        options, rest = super().parse_known_args(args, namespace)
        for word in filter(_is_option, rest):
            raise self._no_such_option(word)
        rest = self._fill(options, rest)
        if rest:
            raise UsageError("unexpected argument", where=self.prog, found=repr(rest[0]), fix=self._see())
        return options, []

    def _fill(self, options: argparse.Namespace, rest: list[str]) -> list[str]:
        """Give an optional argument its value: argparse takes it as missing if an option is in front of it."""
        for action in self._get_positional_actions():
            if rest and action.nargs == argparse.OPTIONAL and getattr(options, action.dest) == action.default:
                self._check_value(action, value := self._get_value(action, rest[0]))
                setattr(options, action.dest, value)
                rest = rest[1:]
        return rest

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = list(map(str, action.choices))
        if isinstance(action, argparse._SubParsersAction):
            raise UsageError(f"no such command: {value}", where=self.prog, fix=self._nearest(str(value), choices))
        name, expected = argparse._get_action_name(action), ", ".join(choices)
        fix = self._nearest(str(value), choices)
        raise UsageError(f"{name}: no such choice", where=self.prog, expected=expected, found=repr(value), fix=fix)

    def _no_such_option(self, word: str) -> UsageError:
        given = word.partition("=")[0]
        return UsageError(f"no such option: {given}", where=self.prog, fix=self._nearest(given, self._options()))

    def _options(self) -> list[str]:
        return [name for name in self._option_string_actions if name.startswith("--")]

    def _nearest(self, word: str, known: Iterable[str]) -> str:
        import difflib

        by_letters = {name.lstrip("-"): name for name in known}  # the dashes, which all options have, count for nothing
        for nearest in difflib.get_close_matches(word.lstrip("-"), by_letters, n=1):
            return f"did you mean {by_letters[nearest]}?"
        return self._see()

    def _see(self) -> str:
        return f"see '{self.prog} --help'"
