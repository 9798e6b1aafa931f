"""The commands: each makes one call with its options and prints the result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.cli.output import say, say_text
from datapack.errors import DatapackError, UsageError
from datapack.text import counted, size

if TYPE_CHECKING:
    import argparse

    from datapack.bag.bagit import Bag
    from datapack.build.build import Built
    from datapack.workspace.folder import Workspace

DETAILS_SHOWN = 20  # lines of a list that may be long


def _workspace(options: argparse.Namespace) -> Workspace:
    from datapack.workspace.folder import Workspace

    return Workspace.find(options.folder)


def _workspace_if_any(options: argparse.Namespace) -> Workspace | None:
    """Return the workspace, or None outside one: an image or a bag can be checked anywhere."""
    try:
        return _workspace(options)
    except DatapackError:
        return None


def init(options: argparse.Namespace) -> None:
    """Create a catalog."""
    from datapack.catalog.template import init as create

    for path in create(options.folder.resolve()):
        say(f"wrote {path}")
    say("Edit datasets.yml, then run: datapack build <name>@<version>")


def list_versions(options: argparse.Namespace) -> None:
    """List all versions."""
    from datapack.catalog.model import Catalog

    workspace = _workspace(options)
    catalog = Catalog.read(workspace.catalog)
    if options.names:
        say(*(str(entry.reference) for entry in catalog.entries()))
    else:
        from datapack.catalog.lock import Lock
        from datapack.versions.listing import rows, table

        say_text(table(rows(workspace, catalog, Lock.read(workspace.lock))))


def fetch(options: argparse.Namespace) -> None:
    """Fetch a version."""
    from datapack.fetch.job import FetchOptions
    from datapack.fetch.version import fetch as fetch_bag
    from datapack.progress import Console
    from datapack.reference import Reference

    workspace, reference = _workspace(options), Reference.parse(options.reference)
    chosen = FetchOptions(options.refresh, options.update_lock, options.push_data)
    bag = fetch_bag(workspace, reference, chosen, Console())
    say(f"fetched    {reference}: {_amount(bag)}")
    say(f"dataset    {bag.manifest.digest}")
    say(f"bag        {_short(bag.path)}")


def build(options: argparse.Namespace) -> None:
    """Build an import container."""
    built = _built(options)
    out = sys.stderr if options.target == "oci-archive:-" else sys.stdout
    say(f"built      {options.reference}: {_amount(built.bag)}", file=out)
    say(f"dataset    {built.bag.manifest.digest}", file=out)
    say(f"image      {built.image.digest}", file=out)
    say(f"target     {built.target.replace(f'{_workspace(options).root}/', '')}", file=out)
    say(f"provenance {_short(built.provenance)}", file=out)


def push(options: argparse.Namespace) -> None:
    """Build an import container in a registry and print the commands to pull it."""
    from datapack.registry import ImageName

    if not options.target.startswith("docker://"):
        raise UsageError("not a registry", where=options.target, expected="docker://REGISTRY/NAME[:TAG]")
    built = _built(options)
    name = ImageName.parse(built.target.removeprefix("docker://"))
    tagged = f"{name.path}:{name.tag}"
    say(f"pushed     {options.reference}: {_amount(built.bag)}")
    say(f"dataset    {built.bag.manifest.digest}")
    say(f"image      {name.path}@{name.digest}")
    say(f"provenance {_short(built.provenance)}")
    say("")
    say("The data manager runs this in the Safe Haven:")
    say(f"  ces-pull GITHUB_USER TOKEN {tagged}")
    say(f"  ces-run {tagged}")
    say(f"The log must end with: IMPORT OK {options.reference} {built.bag.manifest.digest}")


def _built(options: argparse.Namespace) -> Built:
    from datapack.build.build import Options
    from datapack.build.build import build as build_image
    from datapack.progress import Console
    from datapack.reference import Reference

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
        allow_public=options.allow_public,
    )
    return build_image(workspace, reference, chosen, Console())


def run(options: argparse.Namespace) -> None:
    """Rehearse an image."""
    from datapack.progress import Console
    from datapack.rehearse import Log, Options, rehearse

    folder = options.folder.resolve()
    paths = ("data", "outputs", "env_file", "arg_file", "opt_file")
    given = {name: (folder / path).resolve() for name in paths if (path := getattr(options, name)) is not None}
    same = ("arguments", "launch", "data_read_only", "memory", "cores", "name", "strict", "gpu", "base")
    chosen = Options(**given, **{name: getattr(options, name) for name in same})
    log = Log(sys.stdout.buffer, sys.stderr.buffer)
    done = rehearse(options.what, folder, _workspace_if_any(options), chosen, log, Console())
    say(f"rehearsed {done.name}")
    if done.arrived:
        say_text(str(done.arrived.verified))
        say(f"receipt  {done.arrived.receipt}")
    elif done.files:
        total = size(sum(count for _, count in done.files))
        say(f"written  {counted(len(done.files), 'file')}, {total}: {_short(done.folder)}")
        for path, count in done.files[:DETAILS_SHOWN]:
            say(f"  {size(count):>7}  {path}")
        if len(done.files) > DETAILS_SHOWN:
            say(f"  and {len(done.files) - DETAILS_SHOWN:,} more")
    else:
        say("written  nothing")


def verify(options: argparse.Namespace) -> None:
    """Check a bag or an image against its manifest."""
    from datapack.progress import Console
    from datapack.verify import verify as check

    workspace = _workspace_if_any(options)
    verified = check(
        options.what, options.folder.resolve(), workspace, options.mode, Console(), insecure=options.insecure
    )
    say_text(str(verified))


def base(options: argparse.Namespace) -> None:
    """Pin the catalog's base by digest."""
    from datapack.image.pin import pin

    pinned = pin(_workspace(options), options.image)
    if pinned.new == pinned.old:
        say(f"unchanged: the base is {pinned.new}")
        return
    say(f"old base {pinned.old}")
    say(f"new base {pinned.new}")
    say("Versions built on the old base need --update-lock at their next build.")


def diff(options: argparse.Namespace) -> None:
    """Compare two versions."""
    import json

    from datapack.build.diff import diff as compare
    from datapack.build.diff import table
    from datapack.progress import Console
    from datapack.reference import Reference

    before, after = Reference.parse(options.before), Reference.parse(options.after)
    found = compare(_workspace(options), before, after, Console())
    text = json.dumps(found.to_json(), indent=2) if options.json else table(found, options.all_names)
    say_text(text)


def completion(options: argparse.Namespace) -> None:
    """Print a script for shell completion."""
    from datapack.cli.completion import completion_script

    sys.stdout.write(completion_script(options.make_parser(), options.shell))


def _amount(bag: Bag) -> str:
    return f"{counted(bag.files, 'file')}, {size(bag.bytes)}"


def _short(path: Path) -> str:
    """Return a path relative to the current folder if it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
