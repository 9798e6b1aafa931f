"""DVC's settings, read from its configuration files, because starting a DVC process takes a second."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

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
        return file.parent / value  # relative to the file, as DVC writes it
    return (find_repository(root) or root / ".dvc") / "cache"


def _find(root: Path, section: str, option: str) -> tuple[str, Path] | None:
    for file in _files(root):
        parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
        try:
            # DVC indents settings, which configparser would take for continuation lines
            lines = (line.strip() for line in file.read_text("utf-8").splitlines())
            parser.read_string("\n".join(lines), source=str(file))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            found = str(error).splitlines()[0]
            raise VersioningError("DVC's configuration can't be read", where=file, found=found) from error
        if parser.has_option(section, option):
            return parser.get(section, option).strip("\"'"), file
    return None


def _files(root: Path) -> list[Path]:
    repository = find_repository(root)
    own = [repository / "config.local", repository / "config"] if repository else []
    user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or Path(
        os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "dvc"
    )
    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or "/etc/xdg/dvc"
    return [*own, Path(user, "config"), Path(system, "config")]
