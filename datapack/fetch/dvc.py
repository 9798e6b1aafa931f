"""DVC: a second copy of each bag, its history, and a way to restore it when its sources are gone.

DVC runs as a subprocess, and only to move data: its settings, pointers and directory listings are read from files here.
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

# Runs DVC's command line for each command. After `init` the repository is complete, so the marker is removed.
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
    """Track a bag with DVC; return DVC's hash of it, such as ``8eb474....dir``.

    Raises:
        VersioningError: DVC failed, or does not track every file.
    """
    path = str(bag.path.relative_to(workspace.root))
    reporter.note(f"versioning {path} with DVC, {size(bag.bytes)}")
    pointer = bag.path.with_name(f"{bag.path.name}.dvc")
    if not has_pointer(pointer):
        pointer.unlink(missing_ok=True)
    _run(workspace, ["add", path])
    tracked = _output(pointer)
    files = bag.files + len(bag.tags)
    if tracked["nfiles"] != files:
        raise VersioningError(
            "DVC does not track every file of the bag",
            where=pointer,
            expected=f"{files} files",
            found=f"{tracked['nfiles']} files",
            fix="check whether a .dvcignore excludes some",
        )
    return str(tracked["md5"])


def has_pointer(pointer: Path) -> bool:
    """Say whether there is a pointer. An empty one does not count: a kill leaves it when DVC is about to write it."""
    return pointer.exists() and pointer.stat().st_size > 0


def tracked_hash(pointer: Path) -> str | None:
    """Return the hash in a pointer, or None if there is no pointer."""
    return str(_output(pointer)["md5"]) if has_pointer(pointer) else None


def restore(workspace: Workspace, pointer: Path, destination: Path, reporter: Reporter) -> bool:
    """Restore a bag from DVC's cache or remote to ``destination``; return False if neither has it.

    DVC checks out file by file to the path in its pointer. So it gets a copy of the pointer with a temporary path, and
    only a complete bag gets its final name.
    """
    reporter.note(f"restoring {pointer.with_suffix('').relative_to(workspace.root)} from DVC")
    other = destination.with_name(f"{destination.name}.dvc")
    _output(pointer)  # raises an error for anything that is no pointer
    content = yaml.safe_load(pointer.read_bytes())
    content["outs"][0]["path"] = destination.name
    other.write_text(yaml.safe_dump(content, sort_keys=False))
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
    """Read one file of a tracked bag and fetch no other; return None if neither DVC's cache nor its remote has it.

    ``name`` is its path below the bag. The bytes are not checked.
    """
    if not has_pointer(pointer):
        return None
    content = _read_cached(workspace, pointer, name)
    if content is None and _has_remote(workspace):
        file = pointer.with_suffix("").relative_to(workspace.root) / name
        reporter.note(f"fetching {file} from DVC's remote")
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
    except (FileNotFoundError, KeyError):
        return None


def discard(workspace: Workspace, pointer: Path, names: Iterable[str]) -> None:
    """Remove damaged files of a bag, by their paths below it, from DVC's cache, so that DVC does not use them again."""
    cache = cache_folder(workspace.root)
    hashes = _tree(cache, pointer)
    for name in names:
        if name in hashes:
            _cached(cache, hashes[name]).unlink(missing_ok=True)


def _tree(cache: Path, pointer: Path) -> dict[str, str]:
    """Read DVC's hash of each file of a tracked bag, by its path below the bag; none if the cache lacks the listing."""
    md5 = _output(pointer)["md5"]
    try:
        tree = json.loads(_cached(cache, md5).read_bytes())
        return {str(entry["relpath"]): str(entry["md5"]) for entry in tree}
    except (FileNotFoundError, ValueError, RecursionError, LookupError, TypeError):  # missing or damaged
        return {}


def _cached(cache: Path, md5: str) -> Path:
    """Return the path of an object in DVC 3's cache."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def push(workspace: Workspace, pointer: Path, reporter: Reporter) -> None:
    """Push a tracked bag to the default remote."""
    if not _has_remote(workspace):
        raise VersioningError(
            "DVC has no default remote", where=workspace.root, fix="add one with 'dvc remote add --default NAME URL'"
        )
    reporter.note(f"pushing {pointer.with_suffix('').relative_to(workspace.root)} to DVC's remote")
    _run(workspace, ["push", str(pointer.relative_to(workspace.root))])


def _output(pointer: Path) -> Any:
    """Return the only output in a pointer."""
    try:
        (output,) = yaml.safe_load(pointer.read_bytes())["outs"]
        return {"md5": str(output["md5"]), "nfiles": int(output["nfiles"])}
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise VersioningError(
            "DVC's pointer can't be read", where=pointer, found=type(error).__name__, fix="restore it with git"
        ) from error


def _set_up(workspace: Workspace) -> list[list[str]]:
    """Return the commands that create a DVC repository if needed, and choose a link type that the disk supports."""
    root, marker = workspace.root, workspace.dvc_init
    commands = []
    incomplete = marker.exists() and not (root / ".dvc/cache").exists()
    if incomplete or find_repository(root) is None:
        marker.touch()
        if incomplete:
            shutil.rmtree(root / ".dvc", ignore_errors=True)
        commands.append(["init", *_init_options(root)])
    else:
        marker.unlink(missing_ok=True)
    if not read_setting(root, "cache", "type"):
        # Without reflinks, hardlink must come first: DVC copies if it can't make the first type of link.
        links = "reflink,hardlink,copy" if _supports_reflinks(workspace.cache) else "hardlink,copy"
        commands.append(["config", "--local", "cache.type", links])
    return commands


def _init_options(root: Path) -> tuple[str, ...]:
    if (root / ".git").exists():
        return ()
    inside_git = any((folder / ".git").exists() for folder in root.parents)
    return ("--subdir",) if inside_git else ("--no-scm",)


def _has_remote(workspace: Workspace) -> bool:
    return bool(read_setting(workspace.root, "core", "remote"))


def _supports_reflinks(folder: Path) -> bool:
    """Whether two files on this disk can share blocks."""
    with temporary_file(folder) as (first, _), temporary_file(folder) as (second, _):
        first.write(bytes(4096))
        first.flush()
        try:
            fcntl.ioctl(second.fileno(), _FICLONE, first.fileno())
        except OSError:
            return False
        return True


def _run(workspace: Workspace, command: list[str]) -> None:
    """Run a DVC command; the set-up commands run in the same process, because starting DVC takes a second."""
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
    """Remove DVC's record of locks if a kill left it behind: none of its processes is running."""
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
    """Let the kernel kill this process when its parent ends, so that no orphan holds DVC's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
