"""Dockerfiles, as far as a reviewer reads them: stages and instructions, each with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


class Instruction(NamedTuple):
    """An instruction, its continuation lines joined."""

    line: int
    word: str  # in capitals
    text: str  # without the word


@dataclass(frozen=True)
class Stage:
    """A stage: its base, and its instructions."""

    line: int
    base: str  # its variables replaced by their defaults; empty if one has no default
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, *words: str) -> list[Instruction]:
        """Return the instructions of some kinds."""
        return [one for one in self.instructions if one.word in words]


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile."""

    path: str  # as readers name it
    defaults: dict[str, str]  # of the ARGs before the first stage
    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]

    @classmethod
    def read(cls, file: Path, name: str) -> Dockerfile:
        """Read a file that is well formed; hadolint says whether it is."""
        defaults: dict[str, str] = {}
        arguments: list[Instruction] = []
        stages: list[Stage] = []
        for one in _instructions(file.read_text(encoding="utf-8")):
            if one.word == "FROM":
                stages.append(Stage(one.line, _replace(one.text.split()[0], defaults)))
            elif stages:
                stages[-1].instructions.append(one)
            else:
                arguments.append(one)
                key, equals, value = one.text.partition("=")
                if equals:
                    defaults[key] = value.strip("\"'")
        return cls(name, defaults, tuple(arguments), tuple(stages))

    @property
    def last(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]

    def at(self, line: int) -> str:
        """Return ``FILE:LINE``."""
        return f"{self.path}:{line}"


def _instructions(text: str) -> Iterator[Instruction]:
    start = 0
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.strip()
        if plain.startswith("#") or not (plain or parts):
            continue
        start = start or number
        parts.append(plain.removesuffix("\\").strip())
        if not plain.endswith("\\"):
            word, _, rest = " ".join(parts).partition(" ")
            yield Instruction(start, word.upper(), rest)
            start, parts = 0, []


def _replace(text: str, defaults: dict[str, str]) -> str:
    """Replace variables by their defaults; return nothing if one has none."""
    names = [first or second for first, second in _VARIABLE.findall(text)]
    if any(name not in defaults for name in names):
        return ""
    return _VARIABLE.sub(lambda match: defaults[match[1] or match[2]], text)
