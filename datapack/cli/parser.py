"""What can be asked for on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from datapack import __version__
from datapack.cli.commands import base, build, diff, fetch, init, list_versions, push, run, verify


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands; each sets ``command`` to the function that does it."""
    parser = argparse.ArgumentParser(
        prog="datapack",
        description="Turn a dataset into a verified import container for a Trusted Research Environment.",
    )
    parser.add_argument("--version", action="version", version=f"datapack {__version__}")
    parser.add_argument(
        "-C", dest="folder", metavar="DIR", type=Path, default=Path(), help="work in DIR instead of here"
    )
    parser.set_defaults(after_stop="the same command goes on from here")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_init(group)
    _add_list(group)
    _add_fetch(group)
    _add_build(group)
    _add_push(group)
    _add_run(group)
    _add_verify(group)
    _add_base(group)
    _add_diff(group)
    return parser


def _add_init(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("init", help="start a catalog, datasets.yml, in this folder")
    command.set_defaults(command=init)


def _add_list(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("list", help="show every version: what is fetched, versioned and built")
    command.set_defaults(command=list_versions)


def _add_fetch(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("fetch", help="fetch a version, make it a bag and have DVC track it")
    _add_fetch_options(command)
    command.set_defaults(command=fetch)


def _add_build(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("build", help="fetch a version and make its import container")
    _add_build_options(command)
    command.add_argument(
        "--to",
        dest="target",
        metavar="TARGET",
        help="oci:DIR (by default dist/<name>-<version>), oci-archive:FILE, docker-daemon:[NAME:TAG], "
        "docker://[REGISTRY/NAME:TAG]",
    )
    command.set_defaults(command=build)


def _add_push(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("push", help="build a version straight into a registry, and say how it is pulled")
    _add_build_options(command)
    command.add_argument(
        "--to",
        dest="target",
        metavar="TARGET",
        default="docker://",
        help="docker://REGISTRY/NAME[:TAG] (by default the catalog's registry, the dataset's name and its version)",
    )
    command.set_defaults(command=push)


def _add_build_options(command: argparse.ArgumentParser) -> None:
    _add_fetch_options(command)
    command.add_argument("--base", help="NAME:TAG@sha256:... or oci:DIR, instead of the catalog's base")
    command.add_argument("--verify", action="store_true", help="hash every file again, also those that are known")
    registry = command.add_argument_group("for a registry")
    registry.add_argument("--streams", type=_count, default=4, metavar="N", help="uploads at once (by default 4)")
    registry.add_argument(
        "--insecure", action="store_true", help="take http, and a certificate that nobody vouches for"
    )
    registry.add_argument(
        "--replace", action="store_true", help="take the place of another image of the same name and tag"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def _add_fetch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("reference", metavar="REF", help="name@version")
    command.add_argument("--refresh", action="store_true", help="ask the sources again although the version is here")
    command.add_argument("--update-lock", action="store_true", help="accept a result that differs from datasets.lock")
    command.add_argument("--push-data", action="store_true", help="send the version to DVC's default remote")


def _add_run(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser(
        "run",
        help="rehearse: run an image here as the Safe Haven will, and verify what comes out",
        usage="datapack run [-h] [OPTION ...] WHAT [OPTION ...] [-- ARGUMENT ...]",
        epilog="What follows -- is for the program in the container: datapack run reef@v1 --strict -- --jobs 1",
    )
    command.add_argument("what", metavar="WHAT", help="name@version, or the name or id of an image in the engine")
    command.add_argument(
        "--launch",
        choices=("ces", "podman"),
        default="ces",
        help="ces (the default): as ces-run does, /safe_data read-only, /safe_outputs, /scratch; "
        "podman: as the newer launch pages do, /safe_data alone, to write to",
    )
    command.add_argument("--data", metavar="DIR", type=Path, help="shown as /safe_data; by default an empty folder")
    command.add_argument("--data-read-only", action="store_true", help="with --launch podman: /safe_data read-only")
    command.add_argument(
        "--outputs", metavar="DIR", type=Path, help="shown as /safe_outputs; by default a new one in dist/rehearsals"
    )
    command.add_argument("-m", "--memory", metavar="AMOUNT", help="by default 4g, as there")
    command.add_argument("-c", "--cores", metavar="N", type=float, help="by default all")
    command.add_argument("-n", "--name", help="what the container is called")
    command.add_argument(
        "--strict", action="store_true", help="a read-only root file system, a user without a name, no capabilities"
    )
    command.add_argument("--gpu", action="store_true", help="with every GPU of this machine")
    command.add_argument("--env-file", metavar="FILE", type=Path, help="KEY=VALUE lines")
    command.add_argument(
        "--arg-file", metavar="FILE", type=Path, help="arguments for the program, before those after --"
    )
    command.add_argument("--opt-file", metavar="FILE", type=Path, help="flags of podman; docs/reference.md lists them")
    command.add_argument("--base", help="as for build, where the image must still be brought to the engine")
    command.set_defaults(command=run, after_stop="the container is gone")


def _add_verify(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("verify", help="hold a bag or an image against its manifest")
    command.add_argument(
        "what", metavar="WHAT", help="name@version, oci:DIR, oci-archive:FILE, docker://... or a bag's folder"
    )
    mode = command.add_mutually_exclusive_group()
    mode.add_argument(
        "--full", dest="mode", action="store_const", const="full", default="full", help="read every byte (the default)"
    )
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", help="names and sizes only")
    command.add_argument("--insecure", action="store_true", help="take http, and a certificate that nobody vouches for")
    command.set_defaults(command=verify)


def _add_base(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("base", help="pin the base by the digest that its registry has for it now")
    command.add_argument("image", metavar="NAME:TAG", nargs="?", help="take this image instead of the catalog's")
    command.set_defaults(command=base)


def _add_diff(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = group.add_parser("diff", help="compare two versions: their files, their layers, what a push costs")
    command.add_argument("before", metavar="A", help="name@version: the version that a registry, or a user, has")
    command.add_argument("after", metavar="B", help="name@version: the version that is to go there")
    command.add_argument("--all", dest="all_names", action="store_true", help="name every file, not a few of each kind")
    command.add_argument("--json", action="store_true", help="write it as JSON, for programs")
    command.set_defaults(command=diff)
