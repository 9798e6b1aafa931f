"""The command line: options in, one call, the result out. Only this module prints and only this module catches."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from datapack import __version__
from datapack.errors import DatapackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.build import Built
    from datapack.workspace import Workspace

DETAILS_SHOWN = 20
STOPPED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 used wrongly, 3 the data or the image differs."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        options.command(options)
    except DatapackError as error:
        return _fail(error)
    except KeyboardInterrupt:
        _say(f"stopped; {options.after_stop}")
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone
        return 1
    except OSError as error:
        return _fail(_readable(error))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. What follows ``--`` is for the program in a container, which is not ours to read."""
    ours, after = list(arguments), None
    if "--" in ours:
        cut = ours.index("--")
        ours, after = ours[:cut], ours[cut + 1 :]
    parser = _parser()
    options = parser.parse_args(ours)
    if after is not None and options.command is not _run:
        parser.error("only 'datapack run' takes arguments after --")
    options.arguments = tuple(after or ())
    return options


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _fail(error: DatapackError) -> int:
    _say(f"error: {error}")
    for line in error.details[:DETAILS_SHOWN]:
        _say(f"  {line}")
    if len(error.details) > DETAILS_SHOWN:
        _say(f"  and {len(error.details) - DETAILS_SHOWN:,} more")
    return error.exit_code


def _readable(error: OSError) -> DatapackError:
    fixes = {
        errno.ENOSPC: "make room and run the same command again: it goes on from here",
        errno.EDQUOT: "your quota is used up: make room and run the same command again",
        errno.EROFS: "work in a folder that can be written to",
        errno.EACCES: "check who owns it",
    }
    return DatapackError(error.strerror or type(error).__name__, where=error.filename, fix=fixes.get(error.errno or 0))


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="datapack",
        description="Turn a dataset into a verified import container for a Trusted Research Environment.",
    )
    parser.add_argument("--version", action="version", version=f"datapack {__version__}")
    parser.add_argument(
        "-C", dest="folder", metavar="DIR", type=Path, default=Path(), help="work in DIR instead of here"
    )
    parser.set_defaults(after_stop="the same command goes on from here")
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
    return parser


def _add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("init", help="start a catalog, datasets.yml, in this folder")
    command.set_defaults(command=_init)


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("list", help="show every version: what is fetched, versioned and built")
    command.set_defaults(command=_list)


def _add_fetch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("fetch", help="fetch a version, make it a bag and have DVC track it")
    _add_fetch_options(command)
    command.set_defaults(command=_fetch)


def _add_build(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("build", help="fetch a version and make its import container")
    _add_build_options(command)
    command.add_argument(
        "--to",
        dest="target",
        metavar="TARGET",
        help="oci:DIR (by default dist/<name>-<version>), oci-archive:FILE, docker-daemon:[NAME:TAG], "
        "docker://[REGISTRY/NAME:TAG]",
    )
    command.set_defaults(command=_build)


def _add_push(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("push", help="build a version straight into a registry, and say how it is pulled")
    _add_build_options(command)
    command.add_argument(
        "--to",
        dest="target",
        metavar="TARGET",
        default="docker://",
        help="docker://REGISTRY/NAME[:TAG] (by default the catalog's registry, the dataset's name and its version)",
    )
    command.set_defaults(command=_push)


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
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("expected a whole number from 1")
    return count


def _add_fetch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("reference", metavar="REF", help="name@version")
    command.add_argument("--refresh", action="store_true", help="ask the sources again although the version is here")
    command.add_argument("--update-lock", action="store_true", help="accept a result that differs from datasets.lock")
    command.add_argument("--push-data", action="store_true", help="send the version to DVC's default remote")


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
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
    command.set_defaults(command=_run, after_stop="the container is gone")


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("verify", help="hold a bag or an image against its manifest")
    command.add_argument(
        "what", metavar="WHAT", help="name@version, oci:DIR, oci-archive:FILE, docker://... or a bag's folder"
    )
    mode = command.add_mutually_exclusive_group()
    mode.add_argument(
        "--full", dest="mode", action="store_const", const="full", default="full", help="read every byte (the default)"
    )
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", help="names and sizes only")
    command.add_argument("--insecure", action="store_true", help="take http, and a certificate that nobody vouches for")
    command.set_defaults(command=_verify)


def _add_base(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("base", help="pin the base by the digest that its registry has for it now")
    command.add_argument("image", metavar="NAME:TAG", nargs="?", help="take this image instead of the catalog's")
    command.set_defaults(command=_base)


def _add_diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("diff", help="compare two versions: their files, their layers, what a push costs")
    command.add_argument("before", metavar="A", help="name@version: the version that a registry, or a user, has")
    command.add_argument("after", metavar="B", help="name@version: the version that is to go there")
    command.add_argument("--all", dest="all_names", action="store_true", help="name every file, not a few of each kind")
    command.add_argument("--json", action="store_true", help="write it as JSON, for programs")
    command.set_defaults(command=_diff)


def _workspace(options: argparse.Namespace) -> Workspace:
    from datapack.workspace import Workspace

    return Workspace.find(options.folder)


def _workspace_if_any(options: argparse.Namespace) -> Workspace | None:
    """Return the catalog's folder, or None: an image or a bag can be looked at anywhere."""
    try:
        return _workspace(options)
    except DatapackError:
        return None


def _init(options: argparse.Namespace) -> None:
    from datapack.init import init

    for path in init(options.folder.resolve()):
        print(f"wrote {path}")
    print("Edit datasets.yml, then run: datapack build <name>@<version>")


def _list(options: argparse.Namespace) -> None:
    from datapack.catalog import Catalog
    from datapack.listing import rows, table
    from datapack.lock import Lock

    workspace = _workspace(options)
    print(table(rows(workspace, Catalog.read(workspace.catalog), Lock.read(workspace.lock))))


def _fetch(options: argparse.Namespace) -> None:
    from datapack.fetch import FetchOptions, fetch
    from datapack.reference import Reference
    from datapack.report import Console, size

    workspace, reference = _workspace(options), Reference.parse(options.reference)
    chosen = FetchOptions(options.refresh, options.update_lock, options.push_data)
    bag = fetch(workspace, reference, chosen, Console())
    print(f"fetched    {reference}: {bag.files:,} files, {size(bag.bytes)}")
    print(f"dataset    {bag.manifest.digest}")
    print(f"bag        {_short(bag.path)}")


def _build(options: argparse.Namespace) -> None:
    from datapack.report import size

    built = _built(options)
    out = sys.stderr if options.target == "oci-archive:-" else sys.stdout
    print(f"built      {options.reference}: {built.bag.files:,} files, {size(built.bag.bytes)}", file=out)
    print(f"dataset    {built.bag.manifest.digest}", file=out)
    print(f"image      {built.image.digest}", file=out)
    print(f"target     {built.target.replace(f'{_workspace(options).root}/', '')}", file=out)
    print(f"provenance {_short(built.provenance)}", file=out)


def _push(options: argparse.Namespace) -> None:
    from datapack.registry import ImageName
    from datapack.report import size

    if not options.target.startswith("docker://"):
        raise UsageError("a push goes to a registry", where=options.target, expected="docker://REGISTRY/NAME[:TAG]")
    built = _built(options)
    name = ImageName.parse(built.target.removeprefix("docker://"))
    tagged = f"{name.path}:{name.tag}"
    print(f"pushed     {options.reference}: {built.bag.files:,} files, {size(built.bag.bytes)}")
    print(f"dataset    {built.bag.manifest.digest}")
    print(f"image      {name.path}@{name.digest}")
    print(f"provenance {_short(built.provenance)}, attached to the image")
    print()
    print("For the data manager, in the Safe Haven:")
    print(f"  ces-pull GITHUB_USER TOKEN {tagged}")
    print(f"  ces-run {tagged}")
    print(f"Its log ends with: IMPORT OK {options.reference} {built.bag.manifest.digest}")


def _built(options: argparse.Namespace) -> Built:
    from datapack.build import Options, build
    from datapack.reference import Reference
    from datapack.report import Console

    workspace, reference = _workspace(options), Reference.parse(options.reference)
    chosen = Options(
        target=options.target,
        base=options.base,
        refresh=options.refresh,
        update_lock=options.update_lock,
        verify=options.verify,
        push_data=options.push_data,
        streams=options.streams,
        insecure=options.insecure,
        replace=options.replace,
    )
    return build(workspace, reference, chosen, Console())


def _run(options: argparse.Namespace) -> None:
    from datapack.rehearse import Log, Options, rehearse
    from datapack.report import Console, size

    folder = options.folder.resolve()
    paths = ("data", "outputs", "env_file", "arg_file", "opt_file")
    given = {name: (folder / path).resolve() for name in paths if (path := getattr(options, name)) is not None}
    same = ("arguments", "launch", "data_read_only", "memory", "cores", "name", "strict", "gpu", "base")
    chosen = Options(**given, **{name: getattr(options, name) for name in same})
    log = Log(sys.stdout.buffer, sys.stderr.buffer)
    done = rehearse(options.what, folder, _workspace_if_any(options), chosen, log, Console())
    print(f"rehearsed {done.name}")
    if done.arrived:
        print(done.arrived.verified)
        print(f"receipt  {done.arrived.receipt}")
    elif done.files:
        total = size(sum(count for _, count in done.files))
        print(f"written  {len(done.files):,} files, {total}: {_short(done.folder)}")
        for path, count in done.files[:DETAILS_SHOWN]:
            print(f"  {size(count):>7}  {path}")
        if len(done.files) > DETAILS_SHOWN:
            print(f"  and {len(done.files) - DETAILS_SHOWN:,} more")
    else:
        print("written  nothing")


def _verify(options: argparse.Namespace) -> None:
    from datapack.report import Console
    from datapack.verify import verify

    workspace = _workspace_if_any(options)
    print(verify(options.what, options.folder.resolve(), workspace, options.mode, Console(), insecure=options.insecure))


def _base(options: argparse.Namespace) -> None:
    from datapack.pin import pin

    pinned = pin(_workspace(options), options.image)
    if pinned.new == pinned.old:
        print(f"nothing changed: the base is {pinned.new}")
        return
    print(f"old base {pinned.old}")
    print(f"new base {pinned.new}")
    print("What was built on the old one stops the next build of it, until --update-lock accepts the new one.")


def _diff(options: argparse.Namespace) -> None:
    import json

    from datapack.diff import diff, table
    from datapack.reference import Reference
    from datapack.report import Console

    before, after = Reference.parse(options.before), Reference.parse(options.after)
    found = diff(_workspace(options), before, after, Console())
    print(json.dumps(found.to_json(), indent=2) if options.json else table(found, options.all_names))


def _short(path: Path) -> str:
    """Write a path as it is seen from here, where it is below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
