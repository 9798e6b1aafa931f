"""The machine: its disk, and the container engine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from datapack.doctor.result import Result, note, ok, problem
from datapack.engine import Engine, open_engine
from datapack.errors import ImageError
from datapack.fetch.dvc.repository import supports_reflinks
from datapack.fetch.dvc.settings import cache_folder
from datapack.files import temporary_file
from datapack.text import size
from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from datapack.doctor.place import Place

_LITTLE, _TOO_LITTLE = 10_000_000_000, 500_000_000  # bytes of free space
_USUAL = "unix:///var/run/docker.sock"


def disk(place: Place) -> Iterator[Result]:
    """Check that the disk has room, and that datapack may write."""
    root = place.root
    free = shutil.disk_usage(root).free
    found = f"{size(free)} free in {root}"
    if not os.access(root, os.W_OK | os.X_OK):
        yield problem("disk", f"can't write in {root}", "work in a folder that you can write to")
    elif free < _TOO_LITTLE:
        yield problem("disk", found, "make room: data, DVC's cache and images go here")
    elif free < _LITTLE:
        yield note("disk", found, "'datapack plan REF' says how much a version needs")
    else:
        yield ok("disk", found)


def links(place: Place) -> Iterator[Result]:
    """Check that data is on the disk once: DVC's cache and the bags must be on one, which must support links."""
    if not place.workspace or not os.access(place.root, os.W_OK | os.X_OK):
        return
    cache = cache_folder(place.root)
    there = next(path for path in (cache, *cache.parents) if path.exists())
    if there.stat().st_dev != place.root.stat().st_dev:
        found = f"DVC's cache is on another disk, so data is stored twice: {cache}, {_free(there)} free"
        yield note("links", found, "see 'dvc cache dir', or make sure that both disks have room")
        return
    kinds = _kinds(place.root)
    if kinds:
        yield ok("links", f"{' and '.join(kinds)}: DVC's cache needs no second copy of the data")
    else:
        fix = "plan twice the space, or work on a disk with links, such as ext4 or btrfs"
        yield note("links", "this disk supports no links, so data is stored twice: in the bag and in DVC's cache", fix)


def _free(folder: Path) -> str:
    return size(shutil.disk_usage(folder).free)


def _kinds(folder: Path) -> list[str]:
    """Return the kinds of link that a disk supports, as two temporary files show."""
    kinds = ["reflinks"] if supports_reflinks(folder) else []
    with temporary_file(folder) as (_, path):
        other = path.with_name(f"{path.name}-link")
        with contextlib.suppress(OSError):
            other.hardlink_to(path)
            kinds.append("hard links")
        other.unlink(missing_ok=True)
    return kinds


def engine(_: Place) -> Iterator[Result]:
    """Check that a container engine answers, which rehearsals need."""
    where = _USUAL
    try:
        if named := os.environ.get("DOCKER_HOST"):
            where = named if named.startswith("unix:") else hide_secrets(named)
        with open_engine() as client:
            found = Engine.ask(client)
    except ValueError:  # of the parser of URLs
        yield note("engine", "DOCKER_HOST names no address", "set it as in unix:///run/podman/podman.sock, or unset it")
        return
    except ImageError:
        yield _without_service(where)
        return
    if found.limits_memory:
        yield ok("engine", f"{found} at {where}")
    else:
        fix = "a rehearsal can take more memory than in the Safe Haven; run the engine as root to limit it"
        yield note("engine", f"{found} at {where}, which can't limit a container's memory", fix)


def _without_service(where: str) -> Result:
    """Say which engine can be started, and how, where none answers."""
    found = f"none answers at {where}: only 'datapack run' and docker-daemon: need one"
    if where != _USUAL:
        return note("engine", found, "start the engine that DOCKER_HOST names, or unset DOCKER_HOST")
    if program := shutil.which("podman"):
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return ok("engine", f"{done.stdout.strip()}; 'datapack run' starts its API service when it needs it")
        return note("engine", "podman is installed, but does not run", "run 'podman --version': it says why")
    if shutil.which("dockerd"):
        fix = "start Docker, for example with 'sudo systemctl start docker', and let your user use it"
        return note("engine", found, fix)
    return note("engine", found, "install podman or Docker")
