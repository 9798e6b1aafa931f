"""The completions of fish, which shtab does not know: a line per command, option and argument of a parser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFERENCES = "(__datapack_references)"  # a function in completion.fish, as is __datapack_command
_FOLDERS = "(__fish_complete_directories)"  # a function of fish


def fish_lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines that complete every command of a parser."""
    for action in parser._actions:  # argparse has no public way to list them
        if not isinstance(action, argparse._SubParsersAction):
            yield from _lines("__datapack_command", _words(action))
            continue
        about = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, command in action.choices.items():
            yield from _lines("__datapack_command", ["-a", name, "-d", about[name]])
            for each in command._actions:
                yield from _lines(f"__datapack_command {name}", _words(each))


def _lines(condition: str, words: list[str]) -> Iterator[str]:
    """Yield a line, unless there is nothing to offer."""
    if words:
        yield " ".join(["complete", "-c", "datapack", "-n", _quoted(condition), *map(_quoted, words)])


def _words(action: argparse.Action) -> list[str]:
    """Return the arguments of ``complete`` that offer an option or an argument, and its values."""
    words: list[str] = []
    for name in action.option_strings:
        words += ["-l", name[2:]] if name.startswith("--") else ["-s", name[1:]]
    if action.option_strings and action.nargs != 0:
        words.append("-r" if action.metavar == "FILE" else "-x")  # a value follows: a file, or no file
    words += _values(action)
    return [*words, "-d", (action.help or "").replace("%%", "%")] if action.option_strings else words


def _values(action: argparse.Action) -> list[str]:
    if action.choices is not None:
        return ["-a", " ".join(map(str, action.choices))]
    by_metavar = {
        "DIR": ["-a", _FOLDERS],
        "FILE": ["-F"],
        "REF": ["-a", _REFERENCES],
        "A": ["-a", _REFERENCES],
        "B": ["-a", _REFERENCES],
        "WHAT": ["-a", _REFERENCES, "-F"],
        "TARGET": ["-a", "oci: oci-archive: docker-daemon: docker://"],
    }
    return by_metavar.get(str(action.metavar), [])


def _quoted(word: str) -> str:
    """Quote a word for fish, unless it needs no quotes."""
    if word.replace("-", "").isalnum():
        return word
    backslash, quote = "\\", "'"
    inside = word.replace(backslash, 2 * backslash).replace(quote, backslash + quote)
    return f"'{inside}'"
