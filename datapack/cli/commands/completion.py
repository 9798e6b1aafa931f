"""`datapack completion`: print a script for a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.completion import SHELLS
from datapack.cli.options import add_command

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands

_EXAMPLES = (
    'eval "$(datapack completion bash)"    # in ~/.bashrc',
    'eval "$(datapack completion zsh)"     # in ~/.zshrc, after compinit',
    "datapack completion fish | source     # in ~/.config/fish/config.fish",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "completion",
        run,
        summary="print a script that completes commands, options and references in your shell",
        examples=_EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS, help="your shell")


def run(options: argparse.Namespace) -> Answer:
    """Return a script for shell completion."""
    from datapack.cli.completion import completion_script

    script = completion_script(options.parser, options.shell)
    return Answer({"shell": options.shell, "script": script}, script.splitlines())
