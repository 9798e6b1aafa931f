"""`datapack run`: rehearse an image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.commands.verify import facts
from datapack.cli.options import BASE, add_command, console, short, shortened, workspace_if_any
from datapack.text import counted, size

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.rehearse import Rehearsed

_EXAMPLES = (
    "datapack run reef@v1                  # as the Safe Haven's ces-run does",
    "datapack run reef@v1 -- --jobs 1      # after --: for the container's program",
    "datapack run ghcr.io/you/trainer:v1 --data imported --gpu -- train",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "run",
        run,
        summary="rehearse: run an image here as the Safe Haven will, and verify what it imports",
        examples=_EXAMPLES,
        usage="datapack run [-h] [OPTION ...] WHAT [OPTION ...] [-- ARGUMENT ...]",
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="name@version, for the image in datasets.lock, or the name or ID of an image in the engine; with "
        "apptainer name@version, oci:DIR[:TAG] or oci-archive:FILE[:TAG]",
    )
    _add_launch_options(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="read-only root file system, including /tmp; unnamed user and group 54321; no capabilities; no new "
        "privileges",
    )
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        type=Path,
        help="environment variables, one KEY=VALUE per line, taken literally, without quotes; KEY alone copies "
        "yours; # starts a comment",
    )
    parser.add_argument(
        "--arg-file",
        metavar="FILE",
        type=Path,
        help="arguments for the program, before those after '--': shell words, several per line; # starts a comment",
    )
    parser.add_argument(
        "--opt-file",
        metavar="FILE",
        type=Path,
        help="flags of 'podman run', as shell words; the reference lists those that are known",
    )
    parser.add_argument("--base", help=f"if the version is not in the engine yet: {BASE}")
    parser.set_defaults(after_stop="the container was removed", takes_arguments=True)


def _add_launch_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--launch",
        choices=("ces", "podman", "apptainer"),
        default="ces",
        help="'ces': as ces-run does, with read-only /safe_data, and empty, writable /safe_outputs and /scratch; "
        "'podman': as the newer launch pages of the Safe Haven do, with only /safe_data, which is writable; "
        "'apptainer': the folders of ces, but a read-only SIF run by apptainer as your user, with your home "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="the folder mounted as /safe_data (default: an empty one)"
    )
    parser.add_argument(
        "--data-read-only", action="store_true", help="with '--launch podman': mount /safe_data read-only"
    )
    parser.add_argument(
        "--outputs",
        metavar="DIR",
        type=Path,
        help="the folder mounted as /safe_outputs, missing or empty (default: a new one in dist/rehearsals/)",
    )
    parser.add_argument(
        "-m", "--memory", metavar="AMOUNT", help="memory limit, including swap (default: 4g, as in the Safe Haven)"
    )
    parser.add_argument(
        "-c", "--cores", metavar="N", type=float, help="number of cores, such as 2 or 0.5 (default: all)"
    )
    parser.add_argument("-n", "--name", help="the container's name")
    parser.add_argument("--gpu", action="store_true", help="use every GPU of this machine")


def run(options: argparse.Namespace) -> Answer:
    """Rehearse an image. With --json the container's log goes to standard error: the output is the document."""
    from datapack.rehearse import Log, Options, rehearse

    folder = options.folder.resolve()
    paths = ("data", "outputs", "env_file", "arg_file", "opt_file")
    given = {name: (folder / path).resolve() for name in paths if (path := getattr(options, name)) is not None}
    same = ("arguments", "launch", "data_read_only", "memory", "cores", "name", "strict", "gpu", "base")
    chosen = Options(**given, **{name: getattr(options, name) for name in same})
    log = Log((sys.stderr if options.json or not sys.stdout else sys.stdout).buffer, sys.stderr.buffer)
    done = rehearse(options.what, folder, workspace_if_any(options), chosen, log, console(options))
    return Answer(_value(done), [f"rehearsed {done.name}", *_lines(done, options)])


def _lines(done: Rehearsed, options: argparse.Namespace) -> list[str]:
    if done.arrived:
        return [*str(done.arrived.verified).split("\n"), f"receipt  {done.arrived.receipt}"]
    if not done.files:
        return ["written  nothing"]
    total = size(sum(count for _, count in done.files))
    written = [f"  {size(count):>7}  {path}" for path, count in done.files]
    return [f"written  {counted(len(done.files), 'file')}, {total}: {short(done.folder)}", *shortened(written, options)]


def _value(done: Rehearsed) -> dict[str, Any]:
    arrived = {**facts(done.arrived.verified), "receipt": done.arrived.receipt} if done.arrived else None
    written = [{"path": path, "bytes": count} for path, count in done.files]
    return {"image": done.name, "folder": str(done.folder), "imported": arrived, "written": written}
