"""DVC: a second copy of each bag, its history, and a way to restore it when its sources are gone.

DVC runs as a subprocess, and only to move data: its settings, pointers and listings are read and written as files here.
The whole bag is one ``dvc add``; the cache links to its files instead of copying them, so the disk holds the data once.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from datapack.errors import VersioningError
from datapack.fetch.dvc.add import add_bag, is_ordinary
from datapack.fetch.dvc.cache import DvcCache, one_md5
from datapack.fetch.dvc.pointer import has_pointer, read_pointer
from datapack.fetch.dvc.repository import set_up
from datapack.fetch.dvc.settings import check_remote, check_settings, find_repository, read_setting
from datapack.files import atomic_writer, read_limited
from datapack.text import counted, size
from datapack.web.certificates import find_authorities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datapack.bag.bagit import Bag
    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace


_PR_SET_PDEATHSIG = 1  # prctl of linux/prctl.h
_ERROR = "ERROR: "
_ONLY_REMOTE = "deleted"  # how DVC calls a file that the remote has and the cache lacks
_RECORD_LIMIT = 1 << 20  # bytes


def add(workspace: Workspace, bag: Bag, reporter: Reporter, alike: Sequence[str] = ()) -> str:
    """Track a bag with DVC; return DVC's hash of it, such as ``8eb474....dir``.

    Args:
        workspace: held by the caller.
        bag: the bag.
        reporter: shows the progress.
        alike: DVC's hashes of tracked bags that it shares files with: links to these files are not read again.

    Raises:
        VersioningError: DVC failed, or does not track every file.
    """
    root, pointer = workspace.root, bag.path.with_name(f"{bag.path.name}.dvc")
    check_settings(root)
    path = str(bag.path.relative_to(root))
    reporter.note(f"versioning {path} with DVC, {size(bag.bytes)}")
    if has_pointer(pointer):
        read_pointer(pointer)  # raises if DVC must not be started with it
    else:
        pointer.unlink(missing_ok=True)
    set_up(root)
    if is_ordinary(root, pointer):
        add_bag(root, bag, pointer, reporter, alike)
    else:
        _run(workspace, ["add", path], reporter)
        _check_md5s(bag, DvcCache.of(root).tree(read_pointer(pointer).md5))
    tracked = read_pointer(pointer)
    files = bag.files + len(bag.tags)
    if tracked.files != files:
        raise VersioningError(
            "DVC does not track every file of the bag",
            where=pointer,
            expected=counted(files, "file"),
            found=counted(tracked.files, "file"),
            fix="check whether a .dvcignore excludes some",
        )
    return tracked.md5


def _check_md5s(bag: Bag, tree: Mapping[str, str]) -> None:
    """Refuse files that differ, but not for DVC."""
    first: dict[str, str] = {}
    for path, sha256 in bag.manifest.hashes.items():
        other = first.setdefault(tree.get(path, path), path)
        if bag.manifest.hashes[other] != sha256:
            raise one_md5(bag.path / path, bag.path / other)


def tracked_hash(pointer: Path) -> str | None:
    """Return the hash in a pointer, or None if there is no pointer."""
    return read_pointer(pointer).md5 if has_pointer(pointer) else None


def restore(workspace: Workspace, pointer: Path, destination: Path, reporter: Reporter) -> bool:
    """Restore a bag from DVC's cache or remote to ``destination``; return False if neither has it.

    DVC checks out file by file to the path in its pointer. So it gets a copy of the pointer with a temporary path, and
    only a complete bag gets its final name.

    Raises:
        VersioningError: the pointer or a setting can't be used, or a shared cache is damaged.
    """
    check_settings(workspace.root, to_restore=True)
    bag, has_remote = pointer.with_suffix("").relative_to(workspace.root), _has_remote(workspace)
    md5, _, output = read_pointer(pointer)
    cache = DvcCache.of(workspace.root)
    if cache.remove_damaged([md5]):
        reporter.note(f"DVC's listing of {bag} was damaged and is removed")
    if not has_remote and (lacking := _lacking(cache, md5)):
        reporter.note(f"DVC can't restore {bag}: its cache lacks {lacking}, and it has no default remote")
        return False
    reporter.note(f"restoring {bag} from DVC")
    other = _partial_pointer(pointer)
    content = {"outs": [{**output, "path": destination.name}]}
    with atomic_writer(other) as file:
        file.write(yaml.safe_dump(content, sort_keys=False).encode())
    try:
        command = ["pull" if has_remote else "checkout", "--force", str(other.relative_to(workspace.root))]
        _run(workspace, command, reporter)
    except VersioningError as error:
        reporter.note(str(error))
        return False
    finally:
        other.unlink(missing_ok=True)
    return True


def _partial_pointer(pointer: Path) -> Path:
    return pointer.with_suffix(".partial.dvc")


def _lacking(cache: DvcCache, md5: str) -> str:
    """Say what of a tracked bag the cache lacks; an empty string if it has everything."""
    if not cache.has(md5):
        return "the bag"
    tree = cache.tree(md5)
    absent = sum(not cache.has(file) for file in tree.values())
    return f"{absent:,} of {counted(len(tree), 'file')}" if absent else ""


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
            _run(workspace, ["fetch", str(file)], reporter)
        except VersioningError as error:
            reporter.note(str(error))
            return None
        content = _read_cached(workspace, pointer, name)
    return content


def _read_cached(workspace: Workspace, pointer: Path, name: str) -> bytes | None:
    cache = DvcCache.of(workspace.root)
    md5 = cache.tree(read_pointer(pointer).md5).get(name)
    return None if md5 is None else cache.read(md5)


def remove_damaged(workspace: Workspace, pointer: Path, names: Iterable[str]) -> int:
    """Remove damaged files of a bag, by their paths below it, from DVC's cache, so that DVC does not use them again.

    A file counts as damaged only if its bytes in the cache are wrong, whatever was restored from it.

    Returns:
        the number of files that were removed.

    Raises:
        VersioningError: the cache may belong to others; nothing was removed.
    """
    cache = DvcCache.of(workspace.root)
    hashes = cache.tree(read_pointer(pointer).md5)
    return cache.remove_damaged(hashes[name] for name in names if name in hashes)


def push(workspace: Workspace, pointer: Path, reporter: Reporter) -> None:
    """Push a tracked bag to the default remote."""
    check_remote(workspace.root)
    read_pointer(pointer)
    reporter.note(f"pushing {pointer.with_suffix('').relative_to(workspace.root)} to DVC's remote")
    _run(workspace, ["push", str(pointer.relative_to(workspace.root))], reporter)


def is_pushed(workspace: Workspace, pointer: Path, reporter: Reporter) -> bool:
    """Ask DVC whether the default remote has every file of a tracked bag; what can't be asked counts as no."""
    if not has_pointer(pointer) or not _has_remote(workspace):
        return False
    read_pointer(pointer)
    reporter.note(f"asking DVC's remote for {pointer.with_suffix('').relative_to(workspace.root)}")
    try:
        command = ["status", "--cloud", "--json", str(pointer.relative_to(workspace.root))]
        answer = _run(workspace, command, reporter)
        states = json.loads(answer.strip().rpartition("\n")[2] or "null")
    except (VersioningError, ValueError) as error:
        reporter.note(f"can't tell what DVC's remote has: {error}")
        return False
    return isinstance(states, dict) and set(states.values()) <= {_ONLY_REMOTE}


def _has_remote(workspace: Workspace) -> bool:
    return bool(read_setting(workspace.root, "core", "remote"))


def _run(workspace: Workspace, command: list[str], reporter: Reporter) -> str:
    """Run a DVC command; return what it says, which is a detail."""
    root = workspace.root
    set_up(root)
    _release_dead_locks(root)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dvc", *command],  # -P: no module beside the catalog takes the place of Python's
        cwd=root,
        env={**os.environ, **find_authorities().environment(), "DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL,  # a question that nobody sees would wait for ever
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=_die_with_parent,
    )
    if done.returncode:
        _, found, message = done.stderr.partition(_ERROR)
        reason = (message if found else done.stderr).strip().partition("\n\n")[0]
        raise VersioningError(f"'dvc {' '.join(command)}' failed", where=root, found=reason or "no message")
    for line in done.stdout.splitlines():
        if line.strip():
            reporter.detail(f"dvc {command[0]}: {line.strip()}")
    return done.stdout


def _release_dead_locks(root: Path) -> None:
    """Remove DVC's record of locks if a kill left it behind: none of its processes is running."""
    repository = find_repository(root)
    if repository is None or not (record := repository / "tmp/rwlock").exists():
        return
    content = read_limited(record, _RECORD_LIMIT, VersioningError)
    processes = map(int, re.findall(rb'"pid": (\d{1,9})\b', content))
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
