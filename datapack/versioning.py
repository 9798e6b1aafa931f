"""DVC: the bag's second copy, its history, and the way back when no source answers any more.

DVC is run as the program that it is. The whole bag is one ``dvc add``; with links, not copies, the disk holds it once.
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
from datapack.files import temporary_file
from datapack.report import size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datapack.bag import Bag
    from datapack.report import Reporter
    from datapack.workspace import Workspace

_FICLONE = 0x40049409  # ioctl of linux/fs.h: share one file's blocks with another
_PR_SET_PDEATHSIG = 1  # prctl of linux/prctl.h
_ERROR = "ERROR: "


def add(workspace: Workspace, bag: Bag, reporter: Reporter) -> str:
    """Have DVC track a bag; return DVC's hash of it, such as ``8eb474....dir``.

    Raises:
        VersioningError: DVC failed, or does not track every file.
    """
    _initialise(workspace)
    reporter.note(f"versioning {bag.path.relative_to(workspace.root)} with DVC, {size(bag.bytes)}")
    _dvc(workspace.root, "add", str(bag.path.relative_to(workspace.root)))
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
    """Return the hash that a pointer names, or None where there is no pointer."""
    return str(_output(pointer)["md5"]) if pointer.exists() else None


def restore(workspace: Workspace, pointer: Path, destination: Path, reporter: Reporter) -> bool:
    """Bring what a pointer names from DVC's cache or remote to ``destination``; return False where neither has it.

    DVC checks out under the name that a pointer gives, file by file. So it is given a pointer with another name, and
    only a whole bag gets its own.
    """
    reporter.note(f"restoring {pointer.with_suffix('').relative_to(workspace.root)} from DVC")
    _initialise(workspace)
    other = destination.with_name(f"{destination.name}.dvc")
    document = yaml.safe_load(pointer.read_bytes())
    document["outs"][0]["path"] = destination.name
    other.write_text(yaml.safe_dump(document, sort_keys=False))
    try:
        _dvc(
            workspace.root,
            "pull" if _has_remote(workspace) else "checkout",
            "--force",
            str(other.relative_to(workspace.root)),
        )
    except VersioningError as error:
        reporter.note(f"{error}")
        return False
    finally:
        other.unlink(missing_ok=True)
    return True


def read(workspace: Workspace, pointer: Path, name: str, reporter: Reporter) -> bytes | None:
    """Read one file of a tracked bag, and fetch no other; return None where neither DVC's cache nor its remote has it.

    ``name`` is its path below the bag. What is read is not checked.
    """
    if not pointer.exists():
        return None
    content = _read_cached(workspace, pointer, name)
    if content is None and _has_remote(workspace):
        file = pointer.with_suffix("").relative_to(workspace.root) / name
        reporter.note(f"asking DVC's remote for {file}")
        try:
            _dvc(workspace.root, "fetch", str(file))
        except VersioningError as error:
            reporter.note(str(error))
            return None
        content = _read_cached(workspace, pointer, name)
    return content


def _read_cached(workspace: Workspace, pointer: Path, name: str) -> bytes | None:
    cache = _cache(workspace)
    try:
        return _cached(cache, _tree(cache, pointer)[name]).read_bytes()
    except (FileNotFoundError, KeyError, ValueError):  # not there, or a damaged tree
        return None


def discard(workspace: Workspace, pointer: Path, names: Iterable[str]) -> None:
    """Remove files of a bag, by their paths below it, from DVC's cache, so that damaged ones are not used again."""
    cache = _cache(workspace)
    hashes = _tree(cache, pointer)
    for name in names:
        if name in hashes:
            _cached(cache, hashes[name]).unlink(missing_ok=True)


def _tree(cache: Path, pointer: Path) -> dict[str, str]:
    """Read which files a pointer stands for: DVC's hash of each, by its path below the bag."""
    tree = json.loads(_cached(cache, str(_output(pointer)["md5"])).read_bytes())
    return {entry["relpath"]: entry["md5"] for entry in tree}


def _cache(workspace: Workspace) -> Path:
    return Path(_run(workspace.root, "cache", "dir").stdout.strip())


def _cached(cache: Path, md5: str) -> Path:
    """Return where DVC 3 keeps an object."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def push(workspace: Workspace, pointer: Path, reporter: Reporter) -> None:
    """Send what a pointer names to the default remote."""
    if not _has_remote(workspace):
        raise VersioningError(
            "DVC has no default remote", where=workspace.root, fix="name one with 'dvc remote add --default NAME URL'"
        )
    reporter.note(f"sending {pointer.with_suffix('').relative_to(workspace.root)} to DVC's remote")
    _dvc(workspace.root, "push", str(pointer.relative_to(workspace.root)))


def _output(pointer: Path) -> Any:
    """Return the one output that a pointer names."""
    try:
        (output,) = yaml.safe_load(pointer.read_bytes())["outs"]
        return {"md5": str(output["md5"]), "nfiles": int(output["nfiles"])}
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise VersioningError(
            "DVC's pointer can't be read", where=pointer, found=type(error).__name__, fix="restore it with git"
        ) from error


def _initialise(workspace: Workspace) -> None:
    """Make a DVC repository where there is none, and choose the links that this disk can make."""
    root = workspace.root
    begun = workspace.cache / "dvc-init"  # there while `dvc init` runs: what a kill left of it is begun anew
    half_made = begun.exists() and not (root / ".dvc/cache").exists()
    if half_made or not any((folder / ".dvc").is_dir() for folder in (root, *root.parents)):
        begun.touch()
        if half_made:
            shutil.rmtree(root / ".dvc", ignore_errors=True)
        _dvc(root, "init", *_kind_of_repository(root))
        begun.unlink()
    if not _setting(root, "cache.type"):
        # `hardlink` must come first where there is no reflink: DVC makes a copy if the first kind is not to be had.
        links = "reflink,hardlink,copy" if _makes_reflinks(workspace.cache) else "hardlink,copy"
        _dvc(root, "config", "--local", "cache.type", links)


def _kind_of_repository(root: Path) -> tuple[str, ...]:
    if (root / ".git").exists():
        return ()
    inside_git = any((folder / ".git").exists() for folder in root.parents)
    return ("--subdir",) if inside_git else ("--no-scm",)


def _has_remote(workspace: Workspace) -> bool:
    return bool(_setting(workspace.root, "core.remote"))


def _setting(root: Path, name: str) -> str:
    """Return a setting of DVC's, or nothing where it is not set."""
    done = _run(root, "config", name)
    return done.stdout.strip() if done.returncode == 0 else ""


def _makes_reflinks(folder: Path) -> bool:
    """Try whether this disk can share blocks between files."""
    with temporary_file(folder) as (first, _), temporary_file(folder) as (second, _):
        first.write(bytes(4096))
        first.flush()
        try:
            fcntl.ioctl(second.fileno(), _FICLONE, first.fileno())
        except OSError:
            return False
        return True


def _dvc(root: Path, *arguments: str) -> None:
    _release_dead_locks(root)
    done = _run(root, *arguments)
    if done.returncode:
        _, found, message = done.stderr.partition(_ERROR)
        reason = (message if found else done.stderr).strip().partition("\n\n")[0]
        raise VersioningError(f"'dvc {' '.join(arguments)}' failed", where=root, found=reason or "no message")


def _release_dead_locks(root: Path) -> None:
    """Remove DVC's record of who reads and writes what, if a kill left it: nobody in it runs any more."""
    record = next((folder / ".dvc/tmp/rwlock" for folder in (root, *root.parents) if (folder / ".dvc").is_dir()), None)
    if record is None or not record.exists():
        return
    processes = map(int, re.findall(r'"pid": (\d+)', record.read_text()))
    if not any(_is_dvc(process) for process in processes):
        record.unlink()


def _is_dvc(process: int) -> bool:
    try:
        return b"dvc" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_die_with_parent,
    )


def _die_with_parent() -> None:
    """Have the kernel end this process with the one that started it, so that no orphan holds DVC's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
