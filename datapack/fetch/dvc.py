"""DVC: a second copy of each bag, the history of a dataset, and a way to restore it when no source answers any more.

DVC runs as a subprocess, and only where it moves data: its settings, pointers and trees are files that are read here.
The whole bag is one ``dvc add``; DVC links to the files instead of copying them, so the disk holds the data once.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from datapack.errors import VersioningError
from datapack.fetch.dvc_settings import cache_folder, find_repository, read_setting
from datapack.files import temporary_file
from datapack.progress import size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datapack.bag.bagit import Bag
    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace


_FICLONE = 0x40049409  # ioctl of linux/fs.h: share one file's blocks with another
_PR_SET_PDEATHSIG = 1  # prctl of linux/prctl.h
_ERROR = "ERROR: "

# DVC's command line, once for each command. After `init` the repository is made: the marker of a half-made one goes.
_PROGRAM = """\
import json, pathlib, sys
from dvc.cli import main
for command in json.loads(sys.argv[1]):
    status = main(command)
    if status:
        sys.exit(status)
    if command[0] == "init":
        pathlib.Path(sys.argv[2]).unlink()
"""


def add(workspace: Workspace, bag: Bag, reporter: Reporter) -> str:
    """Have DVC track a bag; return DVC's hash of it, such as ``8eb474....dir``.

    Raises:
        VersioningError: DVC failed, or does not track every file.
    """
    path = str(bag.path.relative_to(workspace.root))
    reporter.note(f"versioning {path} with DVC, {size(bag.bytes)}")
    _run(workspace, ["add", path])
    pointer = bag.path.with_name(f"{bag.path.name}.dvc")
    tracked = _output(pointer)
    files = bag.files + len(bag.tags)
    if tracked["nfiles"] != files:
        raise VersioningError(
            "DVC does not track every file of the bag",
            where=pointer,
            expected=f"{files} files",
            found=f"{tracked['nfiles']} files",
            fix="does a .dvcignore leave some out?",
        )
    return str(tracked["md5"])


def tracked_hash(pointer: Path) -> str | None:
    """Return the hash in a pointer, or None where there is no pointer."""
    return str(_output(pointer)["md5"]) if pointer.exists() else None


def restore(workspace: Workspace, pointer: Path, destination: Path, reporter: Reporter) -> bool:
    """Restore a bag from DVC's cache or remote to ``destination``; return False where neither has it.

    DVC checks out file by file under the path in its pointer. So it gets a copy of the pointer with a temporary path,
    and only a whole bag gets its final name.
    """
    reporter.note(f"restoring {pointer.with_suffix('').relative_to(workspace.root)} from DVC")
    other = destination.with_name(f"{destination.name}.dvc")
    document = yaml.safe_load(pointer.read_bytes())
    document["outs"][0]["path"] = destination.name
    other.write_text(yaml.safe_dump(document, sort_keys=False))
    try:
        command = "pull" if _has_remote(workspace) else "checkout"
        _run(workspace, [command, "--force", str(other.relative_to(workspace.root))])
    except VersioningError as error:
        reporter.note(str(error))
        return False
    finally:
        other.unlink(missing_ok=True)
    return True


def read(workspace: Workspace, pointer: Path, name: str, reporter: Reporter) -> bytes | None:
    """Read one file of a tracked bag and fetch no other; return None where neither DVC's cache nor its remote has it.

    ``name`` is its path below the bag. The bytes are not checked.
    """
    if not pointer.exists():
        return None
    content = _read_cached(workspace, pointer, name)
    if content is None and _has_remote(workspace):
        file = pointer.with_suffix("").relative_to(workspace.root) / name
        reporter.note(f"asking DVC's remote for {file}")
        try:
            _run(workspace, ["fetch", str(file)])
        except VersioningError as error:
            reporter.note(str(error))
            return None
        content = _read_cached(workspace, pointer, name)
    return content


def _read_cached(workspace: Workspace, pointer: Path, name: str) -> bytes | None:
    cache = cache_folder(workspace.root)
    try:
        return _cached(cache, _tree(cache, pointer)[name]).read_bytes()
    except (FileNotFoundError, KeyError, ValueError):  # not there, or a damaged tree
        return None


def discard(workspace: Workspace, pointer: Path, names: Iterable[str]) -> None:
    """Remove damaged files of a bag, by their paths below it, from DVC's cache, so that DVC does not use them again."""
    cache = cache_folder(workspace.root)
    hashes = _tree(cache, pointer)
    for name in names:
        if name in hashes:
            _cached(cache, hashes[name]).unlink(missing_ok=True)


def _tree(cache: Path, pointer: Path) -> dict[str, str]:
    """Read DVC's hash of each file of a tracked bag, by its path below the bag."""
    tree = json.loads(_cached(cache, str(_output(pointer)["md5"])).read_bytes())
    return {entry["relpath"]: entry["md5"] for entry in tree}


def _cached(cache: Path, md5: str) -> Path:
    """Return where DVC 3 keeps an object."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def push(workspace: Workspace, pointer: Path, reporter: Reporter) -> None:
    """Send a tracked bag to the default remote."""
    if not _has_remote(workspace):
        raise VersioningError(
            "DVC has no default remote", where=workspace.root, fix="name one with 'dvc remote add --default NAME URL'"
        )
    reporter.note(f"sending {pointer.with_suffix('').relative_to(workspace.root)} to DVC's remote")
    _run(workspace, ["push", str(pointer.relative_to(workspace.root))])


def _output(pointer: Path) -> Any:
    """Return the one output in a pointer."""
    try:
        (output,) = yaml.safe_load(pointer.read_bytes())["outs"]
        return {"md5": str(output["md5"]), "nfiles": int(output["nfiles"])}
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise VersioningError(
            "DVC's pointer can't be read", where=pointer, found=type(error).__name__, fix="restore it with git"
        ) from error


def _set_up(workspace: Workspace) -> list[list[str]]:
    """Return the commands that make a DVC repository if there is none, and choose links that this disk can make."""
    root, marker = workspace.root, workspace.dvc_init
    commands = []
    half_made = marker.exists() and not (root / ".dvc/cache").exists()
    if half_made or find_repository(root) is None:
        marker.touch()
        if half_made:
            shutil.rmtree(root / ".dvc", ignore_errors=True)
        commands.append(["init", *_kind_of_repository(root)])
    else:
        marker.unlink(missing_ok=True)
    if not read_setting(root, "cache", "type"):
        # hardlink must come first where there are no reflinks: DVC copies if it can't make the first kind of link.
        links = "reflink,hardlink,copy" if _makes_reflinks(workspace.cache) else "hardlink,copy"
        commands.append(["config", "--local", "cache.type", links])
    return commands


def _kind_of_repository(root: Path) -> tuple[str, ...]:
    if (root / ".git").exists():
        return ()
    inside_git = any((folder / ".git").exists() for folder in root.parents)
    return ("--subdir",) if inside_git else ("--no-scm",)


def _has_remote(workspace: Workspace) -> bool:
    return bool(read_setting(workspace.root, "core", "remote"))


def _makes_reflinks(folder: Path) -> bool:
    """Try whether two files on this disk can share blocks."""
    with temporary_file(folder) as (first, _), temporary_file(folder) as (second, _):
        first.write(bytes(4096))
        first.flush()
        try:
            fcntl.ioctl(second.fileno(), _FICLONE, first.fileno())
        except OSError:
            return False
        return True


def _run(workspace: Workspace, command: list[str]) -> None:
    """Run a DVC command in a repository; what must come before it runs in the same process, as each takes a second."""
    root = workspace.root
    commands = [*_set_up(workspace), command]
    _release_dead_locks(root)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(commands), str(workspace.dvc_init)],
        cwd=root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_die_with_parent,
    )
    if done.returncode:
        _, found, message = done.stderr.partition(_ERROR)
        reason = (message if found else done.stderr).strip().partition("\n\n")[0]
        raise VersioningError(f"'dvc {' '.join(command)}' failed", where=root, found=reason or "no message")


def _release_dead_locks(root: Path) -> None:
    """Remove DVC's record of locks if a kill left it: none of the processes in it is running."""
    repository = find_repository(root)
    if repository is None or not (record := repository / "tmp/rwlock").exists():
        return
    processes = map(int, re.findall(r'"pid": (\d+)', record.read_text()))
    if not any(_is_dvc(process) for process in processes):
        record.unlink()


def _is_dvc(process: int) -> bool:
    try:
        return b"dvc" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, so that no orphan holds DVC's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
