"""A shell that follows a page: it runs one command after the other, and compares what they print."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_END = "the-command-ended-with"
_ANYTHING = re.compile(r"\.\.\.|…")
NOT_FOUND = 127  # bash's status of a program that is not installed


class Done(NamedTuple):
    """What a command printed, standard error included, and its exit status."""

    output: str
    status: int


class Shell:
    """One bash, whose folder and variables last from command to command."""

    def __init__(self, folder: Path, environment: Mapping[str, str]):
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # no terminal: a program that asks for something fails
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.kill()
        self._bash.communicate()

    def run(self, command: str) -> Done:
        """Run a command with an empty standard input."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        end = f"printf '\\n%s %s\\n' {_END} $?"
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null\n{end}\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line.startswith(f"{_END} "):
                return Done("".join(lines).removesuffix("\n"), int(line.split()[1]))
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)}")


def difference(expected: Sequence[str], output: str) -> str:
    """Return why the output is not what a page shows, or nothing if it is."""
    lines = output.splitlines()
    if _match(list(expected), lines):
        return ""
    shown = "\n".join(expected)
    return f"the page shows:\n{shown}\nthe command prints:\n{output}"


def _match(expected: list[str], lines: list[str]) -> bool:
    """Whether the lines fit: a line of dots is any number of lines, dots in a line are any text."""
    possible = {0}  # how many lines the expected ones so far can have used
    for shown in expected:
        if shown.strip() in {"...", "…"}:
            possible = set(range(min(possible, default=len(lines) + 1), len(lines) + 1))
        else:
            pattern = re.compile(".*".join(map(re.escape, _ANYTHING.split(shown.rstrip()))))
            possible = {at + 1 for at in possible if at < len(lines) and pattern.fullmatch(lines[at].rstrip())}
    return len(lines) in possible
