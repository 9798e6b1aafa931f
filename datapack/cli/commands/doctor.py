"""`datapack doctor`: look at what datapack needs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command
from datapack.cli.output import Line, Marked
from datapack.text import counted

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.cli.output import Colour
    from datapack.doctor import Result

_EXAMPLES = (
    "datapack doctor",
    "datapack doctor -q        # only notes and problems",
    "datapack -C elsewhere doctor --json",
)
_COLOURS: dict[str, Colour] = {"ok": "green", "note": "yellow", "problem": "red"}


def add(commands: Commands) -> None:
    add_command(
        commands,
        "doctor",
        run,
        summary="check what datapack needs here: packages, git, DVC, disk, engine, registry",
        examples=_EXAMPLES,
    )


def run(options: argparse.Namespace) -> Answer:
    """Check what datapack needs here. The status is 1 if there is a problem."""
    from datapack.doctor import examine
    from datapack.progress import Level

    found = list(examine(options.folder.resolve()))
    counts = {mark: sum(result.mark == mark for result in found) for mark in _COLOURS}
    shown = [result for result in found if result.mark != "ok" or options.level > Level.QUIET]
    lines = [line for result in shown for line in _lines(result)]
    if counts["problem"] or counts["note"]:
        lines.append(f"{counts['ok']} ok, {counted(counts['note'], 'note')}, {counted(counts['problem'], 'problem')}")
    value = {"results": [{**vars(result), "fix": result.fix or None} for result in found], "counts": counts}
    return Answer(value, lines, status=1 if counts["problem"] else 0)


def _lines(result: Result) -> list[Line]:
    lines: list[Line] = [Marked(f"{result.mark:7}", _COLOURS[result.mark], f"  {result.check:8}  {result.found}")]
    return [*lines, f"{'':19}-> {result.fix}"] if result.fix else lines
