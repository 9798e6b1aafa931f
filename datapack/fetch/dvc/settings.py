"""DVC's settings, read from its configuration files, because starting a DVC process takes a second.

Settings that can't work are refused before DVC starts: a bag needs regular files, and DVC must be able to write.
"""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configobj import ConfigObj, ConfigObjError

from datapack.errors import VersioningError
from datapack.files import home_folder, read_limited

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINKS = ("reflink", "hardlink", "symlink", "copy")  # that DVC knows
_LIMIT = 1 << 20  # bytes of a configuration


def find_repository(root: Path) -> Path | None:
    """Return the ``.dvc`` folder of the DVC repository that ``root`` is in, or None."""
    return next((folder / ".dvc" for folder in (root, *root.parents) if (folder / ".dvc").is_dir()), None)


def read_setting(root: Path, section: str, option: str) -> str:
    """Return a setting, such as ``remote`` of ``core``, or an empty string.

    The files are those of DVC, the most specific first: ``.dvc/config.local``, ``.dvc/config``, then the
    user's and the system's.

    Raises:
        VersioningError: a file can't be read as DVC's configuration.
    """
    found = _find(root, section, option)
    return found[0] if found else ""


def all_settings(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the section, the option and the value of each setting in each file; no section for one that lacks it."""
    for file in _files(root):
        for section, values in _read(file).items():
            if not isinstance(values, dict):
                yield "", section, str(values)
                continue
            for option, value in _lower_keys(values).items():
                yield section, option, ",".join(value) if isinstance(value, list) else str(value)


def cache_folder(root: Path) -> Path:
    """Return the cache of the DVC repository that ``root`` is in."""
    found = _find(root, "cache", "dir")
    if found:
        value, file = found
        # relative to the file, as DVC writes it; unlike Path.expanduser, this leaves the name of an unknown user
        return Path(os.path.normpath(file.parent / os.path.expanduser(value)))  # noqa: PTH111
    return (find_repository(root) or root / ".dvc") / "cache"


def check_settings(root: Path, *, to_restore: bool = False) -> None:
    """Refuse settings with which DVC can't keep a bag.

    Args:
        root: the folder of the catalog.
        to_restore: check only what is needed to restore a bag: the cache may be read-only.

    Raises:
        VersioningError: DVC would put links into the bag, keep its cache where datapack does not look, or it can't
            use its own folders.
    """
    _check_links(root)
    if found := _find(root, "cache", "local"):
        fix = "set cache.dir to its folder, and remove cache.local"
        raise VersioningError("cache.local is not supported", where=found[1], found=found[0], fix=fix)
    if repository := find_repository(root):
        for folder in (repository, repository / "tmp"):
            _check_access(folder, os.R_OK | os.W_OK | os.X_OK)
    _check_access(cache_folder(root), os.R_OK | os.X_OK | (0 if to_restore else os.W_OK))


def _check_links(root: Path) -> None:
    found = _find(root, "cache", "type")
    if not found:
        return
    value, file = found
    types = _types(value)
    expected = "reflink, hardlink or copy, or several of them"
    fix = "run 'dvc config --local cache.type hardlink,copy'"
    if unknown := [part for part in types if part not in _LINKS]:
        raise VersioningError("unknown cache.type", where=file, expected=expected, found=repr(unknown[0]), fix=fix)
    # DVC takes the first type that works; reflinks and hard links do not where the cache is on another disk.
    if "symlink" in types and "copy" not in types[: types.index("symlink")]:
        raise VersioningError(
            "with this cache.type, DVC may replace files of a bag by links", where=file,
            expected=expected, found=value, fix=fix,
        )  # fmt: skip


def link_types(root: Path) -> list[str]:
    """Return how files get into the cache: the ways that `check_settings` accepts, in their order, ``copy`` last."""
    types = _types(read_setting(root, "cache", "type"))
    return [*itertools.takewhile(lambda part: part in ("reflink", "hardlink"), types), "copy"]


def _types(value: str) -> list[str]:
    return [part.strip().lower() for part in value.split(",")]


def _check_access(folder: Path, mode: int) -> None:
    """Refuse a folder that DVC can't use; one that does not exist must be possible to make."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise VersioningError("DVC needs a folder here", where=there, found="a file, or a link that leads nowhere")
    if not os.access(there, mode):
        doing = "write" if mode & os.W_OK else "read"
        fix = "check the permissions of the folder and of its disk"
        raise VersioningError(f"DVC can't {doing} here", where=there, fix=fix)


def check_remote(root: Path) -> None:
    """Refuse a default remote that can't keep a bag.

    Raises:
        VersioningError: there is none, or it keeps files by their names, for which DVC writes pointers of another form.
    """
    name = read_setting(root, "core", "remote")
    if not name:
        raise VersioningError(
            "DVC has no default remote", where=root, fix="add one with 'dvc remote add --default NAME URL'"
        )
    for option in ("version_aware", "worktree"):
        found = _find(root, f'remote "{name}"', option)
        if found and found[0].lower() == "true":
            fix = f"run 'dvc remote modify {name} {option} false', or use another remote"
            raise VersioningError(f"a remote with {option} is not supported", where=found[1], found=name, fix=fix)


def write_local_setting(repository: Path, section: str, option: str, value: str) -> bytes:
    """Return the content of ``.dvc/config.local`` with one setting added; comments and other settings stay."""
    file = repository / "config.local"
    config = _parse(file)
    name = next((known for known in config if known.lower() == section), section)
    values = config.setdefault(name, {})
    if not isinstance(values, dict):
        raise _unreadable(file, f"{name} = {values}", f"[{section}]")
    values[option] = value
    return "".join(f"{line}\n" for line in config.write()).encode()


def _find(root: Path, section: str, option: str) -> tuple[str, Path] | None:
    for file in _files(root):
        values = _read(file).get(section)
        value = _lower_keys(values).get(option) if isinstance(values, dict) else None
        if isinstance(value, (str, list)):  # commas outside quotes make a list
            return value if isinstance(value, str) else ",".join(value), file
    return None


def _read(file: Path) -> dict[str, Any]:
    config = _parse(file)
    try:
        return _lower_keys(config.dict())  # replaces each %(name)s, as DVC does
    except ConfigObjError as error:
        raise _unreadable(file, str(error)) from error


def _parse(file: Path) -> ConfigObj:
    """Read a file with DVC's own parser: it knows quotes, comments behind values, and lists."""
    if not os.path.lexists(file):
        return ConfigObj()
    content = read_limited(file, _LIMIT, VersioningError)
    try:
        return ConfigObj(list(io.StringIO(content.decode(), newline=None)))
    except (UnicodeDecodeError, ConfigObjError) as error:
        raise _unreadable(file, str(error).splitlines()[0]) from error


def _unreadable(file: Path, found: str, expected: str | None = None) -> VersioningError:
    return VersioningError("DVC's configuration can't be read", where=file, expected=expected, found=found)


def _lower_keys(values: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in values.items()}


def _files(root: Path) -> list[Path]:
    repository = find_repository(root)
    own = [repository / "config.local", repository / "config"] if repository else []
    user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or Path(
        os.environ.get("XDG_CONFIG_HOME") or home_folder() / ".config", "dvc"
    )
    shared = os.environ.get("XDG_CONFIG_DIRS", "").split(os.pathsep)[0] or "/etc/xdg"
    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or Path(shared, "dvc")
    return [*own, Path(user, "config"), Path(system, "config")]
