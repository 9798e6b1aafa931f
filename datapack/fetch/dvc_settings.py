"""DVC's settings, read from its configuration files, because starting a DVC process takes a second."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from configobj import ConfigObj, ConfigObjError

from datapack.errors import VersioningError


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


def cache_folder(root: Path) -> Path:
    """Return the cache of the DVC repository that ``root`` is in."""
    found = _find(root, "cache", "dir")
    if found:
        value, file = found
        # relative to the file, as DVC writes it; unlike Path.expanduser, this leaves the name of an unknown user
        return file.parent / os.path.expanduser(value)  # noqa: PTH111
    return (find_repository(root) or root / ".dvc") / "cache"


def _find(root: Path, section: str, option: str) -> tuple[str, Path] | None:
    for file in _files(root):
        values = _read(file).get(section)
        value = _lower_keys(values).get(option) if isinstance(values, dict) else None
        if isinstance(value, (str, list)):  # commas outside quotes make a list
            return value if isinstance(value, str) else ",".join(value), file
    return None


def _read(file: Path) -> dict[str, Any]:
    """Read a file with DVC's own parser: it knows quotes, comments behind values, and lists."""
    try:
        with file.open(encoding="utf-8") as lines:
            return _lower_keys(ConfigObj(lines).dict())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, ConfigObjError) as error:
        found = str(error).splitlines()[0]
        raise VersioningError("DVC's configuration can't be read", where=file, found=found) from error


def _lower_keys(values: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in values.items()}


def _files(root: Path) -> list[Path]:
    repository = find_repository(root)
    own = [repository / "config.local", repository / "config"] if repository else []
    user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or Path(
        os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "dvc"
    )
    shared = os.environ.get("XDG_CONFIG_DIRS", "").split(os.pathsep)[0] or "/etc/xdg"
    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or Path(shared, "dvc")
    return [*own, Path(user, "config"), Path(system, "config")]
