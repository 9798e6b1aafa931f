"""The command-line options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from datapack import __version__
from datapack.cli.commands import base, build, completion, diff, fetch, init, list_versions, push, run, verify
from datapack.cli.completion import SHELLS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_INSECURE = "accept plain http and untrusted certificates"
_BASE = "use this base instead of the catalog's: NAME:TAG@sha256:... or oci:DIR"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands; each sets ``command`` to the function that runs it."""
    parser = argparse.ArgumentParser(
        prog="datapack",
        description="Turn a dataset into a verified import container for a Trusted Research Environment.",
    )
    parser.add_argument("--version", action="version", version=f"datapack {__version__}")
    parser.add_argument(
        "-C",
        "--directory",
        dest="folder",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="run as if started in this folder",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_init(commands)
    _add_list(commands)
    _add_fetch(commands)
    _add_build(commands)
    _add_push(commands)
    _add_run(commands)
    _add_verify(commands)
    _add_base(commands)
    _add_diff(commands)
    _add_completion(commands)
    return parser


def _add_init(commands: Commands) -> None:
    command = commands.add_parser("init", help="create a catalog, datasets.yml, in this folder")
    command.set_defaults(command=init)


def _add_list(commands: Commands) -> None:
    command = commands.add_parser("list", help="list all versions: what is fetched, versioned and built")
    command.add_argument("--names", action="store_true", help="print only the references, name@version, one per line")
    command.set_defaults(command=list_versions)


def _add_fetch(commands: Commands) -> None:
    command = commands.add_parser("fetch", help="fetch a version as a bag and track it with DVC")
    _add_fetch_options(command)
    command.set_defaults(command=fetch)


def _add_build(commands: Commands) -> None:
    command = commands.add_parser("build", help="fetch a version and build its import container")
    _add_build_options(command)
    command.add_argument(
        "--to",
        dest="target",
        metavar="TARGET",
        help="oci:DIR (default: dist/<name>-<version>), oci-archive:FILE, docker-daemon:[NAME:TAG] or "
        "docker://[REGISTRY/NAME:TAG]",
    )
    command.set_defaults(command=build)


def _add_push(commands: Commands) -> None:
    command = commands.add_parser(
        "push", help="build a version directly into a registry and print the commands to pull it"
    )
    _add_build_options(command)
    command.add_argument(
        "--to",
        dest="target",
        metavar="TARGET",
        default="docker://",
        help="docker://REGISTRY/NAME[:TAG] (default: the catalog's registry, the dataset's name and the version)",
    )
    command.set_defaults(command=push)


def _add_build_options(command: argparse.ArgumentParser) -> None:
    _add_fetch_options(command)
    command.add_argument("--base", help=_BASE)
    command.add_argument(
        "--verify",
        action="store_true",
        help="read every file again, even unchanged ones, and what an oci: target has already",
    )
    registry = command.add_argument_group("registry options")
    registry.add_argument("--streams", type=_count, default=4, metavar="N", help="parallel uploads (default: 4)")
    registry.add_argument("--insecure", action="store_true", help=_INSECURE)
    registry.add_argument(
        "--replace", action="store_true", help="replace a different image that has the same name and tag"
    )
    registry.add_argument(
        "--allow-public", action="store_true", help="push a private dataset even where everybody can read it"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def _add_fetch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("reference", metavar="REF", help="name@version")
    command.add_argument("--refresh", action="store_true", help="fetch from the sources again, even if the bag is here")
    command.add_argument("--update-lock", action="store_true", help="accept a result that differs from datasets.lock")
    command.add_argument("--push-data", action="store_true", help="push the bag to DVC's default remote")


def _add_run(commands: Commands) -> None:
    command = commands.add_parser(
        "run",
        help="rehearse: run an image here as the Safe Haven will, and verify what it imports",
        usage="datapack run [-h] [OPTION ...] WHAT [OPTION ...] [-- ARGUMENT ...]",
        epilog="Arguments after -- go to the program in the container: datapack run reef@v1 --strict -- --jobs 1",
    )
    command.add_argument(
        "what",
        metavar="WHAT",
        help="name@version, the name or ID of an image in the engine, or, for apptainer, oci:DIR or oci-archive:FILE",
    )
    _add_launch_options(command)
    command.add_argument(
        "--strict", action="store_true", help="read-only root file system, a user ID without a name, no capabilities"
    )
    command.add_argument("--env-file", metavar="FILE", type=Path, help="environment variables, one KEY=VALUE per line")
    command.add_argument(
        "--arg-file", metavar="FILE", type=Path, help="arguments for the program, before those after --"
    )
    command.add_argument("--opt-file", metavar="FILE", type=Path, help="podman flags; docs/reference.md lists them")
    command.add_argument("--base", help=f"if the version is not in the engine yet: {_BASE}")
    command.set_defaults(command=run, after_stop="the container was removed")


def _add_launch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--launch",
        choices=("ces", "podman", "apptainer"),
        default="ces",
        help="ces (default): as ces-run does, with /safe_data read-only, /safe_outputs and /scratch; "
        "podman: as the newer launch pages do, with only a writable /safe_data; "
        "apptainer: like ces, but a read-only SIF run by apptainer as your user, with your home",
    )
    command.add_argument("--data", metavar="DIR", type=Path, help="mounted as /safe_data (default: an empty folder)")
    command.add_argument(
        "--data-read-only", action="store_true", help="with --launch podman: mount /safe_data read-only"
    )
    command.add_argument(
        "--outputs",
        metavar="DIR",
        type=Path,
        help="mounted as /safe_outputs (default: a new folder in dist/rehearsals)",
    )
    command.add_argument("-m", "--memory", metavar="AMOUNT", help="memory limit (default: 4g, as in the Safe Haven)")
    command.add_argument("-c", "--cores", metavar="N", type=float, help="CPU cores (default: all)")
    command.add_argument("-n", "--name", help="the container's name")
    command.add_argument("--gpu", action="store_true", help="use all GPUs of this machine")


def _add_verify(commands: Commands) -> None:
    command = commands.add_parser("verify", help="check a bag or an image against its manifest")
    command.add_argument(
        "what",
        metavar="WHAT",
        help="name@version, a bag's folder, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker://...",
    )
    mode = command.add_mutually_exclusive_group()
    mode.add_argument(
        "--full", dest="mode", action="store_const", const="full", default="full", help="read every byte (default)"
    )
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", help="check only names and sizes")
    command.add_argument("--insecure", action="store_true", help=_INSECURE)
    command.set_defaults(command=verify)


def _add_base(commands: Commands) -> None:
    command = commands.add_parser("base", help="pin the catalog's base by the digest that its registry has now")
    command.add_argument("image", metavar="NAME:TAG", nargs="?", help="pin this image instead of the catalog's")
    command.set_defaults(command=base)


def _add_diff(commands: Commands) -> None:
    command = commands.add_parser("diff", help="compare two versions: their files, their layers, and what a push costs")
    command.add_argument("before", metavar="A", help="name@version: what a registry or a user has")
    command.add_argument("after", metavar="B", help="name@version: what should replace it")
    command.add_argument("--all", dest="all_names", action="store_true", help="list every file, not just the first few")
    command.add_argument("--json", action="store_true", help="write JSON")
    command.set_defaults(command=diff)


def _add_completion(commands: Commands) -> None:
    command = commands.add_parser(
        "completion",
        help="print a script that completes commands, options and references in your shell",
        epilog='To use it, add this line to ~/.bashrc (with "zsh", after compinit, to ~/.zshrc): '
        'eval "$(datapack completion bash)"',
    )
    command.add_argument("shell", choices=SHELLS, help="your shell")
    command.set_defaults(command=completion, make_parser=make_parser)
