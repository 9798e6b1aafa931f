"""What ``dvc add`` does with a new bag, without DVC: a start of DVC takes a second, and 200,000 files take it 600 MB.

`is_ordinary` says whether ``dvc add`` would do just this. Where it would do more, because of a setting or of a file
that somebody wrote, DVC itself must do it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import time
from typing import TYPE_CHECKING

from datapack.bag.manifest import PAYLOAD
from datapack.catalog.git import is_ignored, tracked_files
from datapack.errors import VersioningError
from datapack.fetch.dvc.cache import DvcCache
from datapack.fetch.dvc.pointer import format_pointer, has_pointer, is_plain, is_written_alike
from datapack.fetch.dvc.settings import all_settings, find_repository, link_types, read_setting
from datapack.files import atomic_writer, disk_errors, open_regular, read_limited, sync, temporary_file
from datapack.hashing import hash_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.progress import Reporter

_TRUTH, _TEXT = re.compile("(?i:true|false)"), re.compile(".+")
# Settings that `add_bag` follows, or that do not concern it, with the form in which DVC accepts them.
_SETTINGS = {
    ("core", "remote"): _TEXT,
    ("core", "no_scm"): _TRUTH,
    ("core", "analytics"): _TRUTH,
    ("core", "check_update"): _TRUTH,
    ("cache", "dir"): _TEXT,
    ("cache", "type"): re.compile("[a-z, ]+"),
}
_SECTIONS = re.compile(r'remote ".+"|studio|exp', re.DOTALL)  # that do not concern it
_LIMIT = 1 << 20  # bytes of a .dvcignore or .gitignore
_TRIES, _PAUSE = 7, 0.5  # seconds; DVC waits as long for another DVC


def is_ordinary(root: Path, pointer: Path) -> bool:
    """Whether ``dvc add`` of the bag beside this pointer would do nothing that `add_bag` does not do.

    Args:
        root: the folder of the catalog, in a DVC repository.
        pointer: the path of the bag's pointer, which need not exist.
    """
    return (
        is_written_alike(pointer.stem)
        and all(_is_usual(*setting) for setting in all_settings(root))
        and not any(_concerns_dvc(folder) for folder in _folders(root, pointer))
        and (not has_pointer(pointer) or is_plain(pointer))
        and not pointer.with_name(".gitignore").is_symlink()  # DVC follows it if it stays in the repository
        and (_without_git(root) or _git_agrees(pointer))
    )


def _is_usual(section: str, option: str, value: str) -> bool:
    """Whether DVC accepts a setting, and `add_bag` follows it."""
    form = _SETTINGS.get((section, option))
    return form.fullmatch(value) is not None if form else _SECTIONS.fullmatch(section) is not None


def _git_agrees(pointer: Path) -> bool:
    """Whether git is there, has no file of the bag, and will have its pointer."""
    return tracked_files(pointer.with_suffix("")) == [] and not is_ignored(pointer)


def _folders(root: Path, pointer: Path) -> Iterator[Path]:
    """Yield each folder from the bag's up to the top of the DVC repository."""
    repository = find_repository(root)
    for folder in pointer.parents:
        yield folder
        if repository is None or folder == repository.parent:
            return


def _concerns_dvc(folder: Path) -> bool:
    """Whether a file here may keep DVC from tracking what is below, or may track it too."""
    if (folder / "dvc.yaml").exists() or (folder.parent / f"{folder.name}.dvc").is_file():
        return True
    ignored = folder / ".dvcignore"
    lines = read_limited(ignored, _LIMIT, VersioningError).splitlines() if ignored.exists() else []
    return any(line.strip() and not line.startswith(b"#") for line in lines)


def _without_git(root: Path) -> bool:
    return read_setting(root, "core", "no_scm").lower() == "true"


def add_bag(root: Path, bag: Bag, pointer: Path, reporter: Reporter, alike: Sequence[str] = ()) -> None:
    """Link or copy every file of a bag into DVC's cache, let git ignore the bag, and write its pointer.

    Files that are links to those of ``alike``, tracked bags by their md5, are in the cache already, and not read.

    Raises:
        VersioningError: DVC is at work, the disk can't be written to, a shared cache is damaged, or somebody put
            a file into the bag.
    """
    _check_strangers(bag)
    names = sorted([*bag.manifest.hashes, *bag.tags])
    size = bag.bytes + sum((bag.path / name).stat().st_size for name in bag.tags)
    with exclusive(root):
        with reporter.progress(f"versioning {bag.path.name} with DVC", size, "B") as advance:
            md5 = _store(root, bag.path, names, DvcCache.of(root).linked(bag.path, names, alike), advance)
        with disk_errors(pointer, VersioningError):
            if not (_without_git(root) or is_ignored(bag.path)):
                _ignore(bag.path)
            with atomic_writer(pointer) as out:
                out.write(format_pointer(md5, size, len(names), bag.path.name))


def _store(
    root: Path, bag: Path, names: Sequence[str], known: Mapping[str, str], advance: Callable[[int], None]
) -> str:
    """Put the files of a bag and their listing into DVC's cache; return DVC's name of the listing.

    The md5 of some files may be known.
    """
    cache, links = DvcCache.of(root), link_types(root)
    with disk_errors(cache.objects, VersioningError):
        cache.remove_leftovers()
        with temporary_file(cache.objects) as (file, listing):
            digest = hashlib.md5(usedforsecurity=False)

            def write(part: bytes) -> None:
                digest.update(part)
                file.write(part)

            hashed = hash_files(bag, (name for name in names if name not in known), algorithm="md5", advance=advance)
            for name in names:
                md5 = known.get(name) or next(hashed)[1]
                cache.add(bag / name, md5, links)
                entry = json.dumps({"md5": md5, "relpath": name})
                write(f"{', ' if name is not names[0] else '['}{entry}".encode())
            write(b"]")
            sync(file)
            tree = f"{digest.hexdigest()}.dir"
            cache.add(listing, tree, links)
    return tree


def _check_strangers(bag: Bag) -> None:
    """Refuse files beside the payload that are not the bag's: to DVC, they would be changes of it for ever."""
    strangers = {path.name for path in bag.path.iterdir()} - {PAYLOAD, *bag.tags}
    if strangers:
        raise VersioningError("not a part of the bag", where=bag.path / min(strangers), fix="move it out of the bag")


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the lock of the DVC repository, so that no ``dvc gc`` removes objects that no pointer names yet."""
    folder = (find_repository(root) or root / ".dvc") / "tmp"
    with disk_errors(folder / "lock", VersioningError):
        folder.mkdir(exist_ok=True)
        if (folder / "lock").exists():
            open_regular(folder / "lock", VersioningError).close()  # opening a FIFO to write would wait for ever
        lock = (folder / "lock").open("ab")
    with lock as file:
        for last in (*[False] * _TRIES, True):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if last:
                    raise VersioningError(
                        "DVC is at work in this repository", where=folder, fix="run the same command when it has ended"
                    ) from error
                time.sleep(_PAUSE)
        yield


def _ignore(bag: Path) -> None:
    """Add a bag to ``.gitignore`` beside it, which keeps its owner and mode."""
    path = bag.with_name(".gitignore")
    content = read_limited(path, _LIMIT, VersioningError) if path.exists() else b""
    line = f"/{bag.name}\n".encode()
    if line in content.splitlines(keepends=True):
        return
    with path.open("ab") as out:
        out.write((b"\n" if content and not content.endswith(b"\n") else b"") + line)
