"""DVC's pointers: a small file in git for each bag. Anyone may have written it, so it may do no more than name the bag.

A stage of DVC's can do more: lead to another folder, which ``dvc checkout --force`` then replaces, clone a repository,
run a command. DVC is not started with a pointer that asks for any of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from datapack.errors import VersioningError
from datapack.fetch.dvc.cache import check_md5
from datapack.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STAGE = {"outs", "desc", "meta"}
_OUTPUT = {"md5", "size", "nfiles", "hash", "path", "desc", "labels", "meta", "push", "remote", "type"}
_LONGEST = 64  # characters that fit on a line after "  path: "
_EXPECTED = "one output, the bag, with its md5 and nfiles"


class Pointer(NamedTuple):
    """What a pointer says."""

    md5: str  # DVC's name of the listing
    files: int
    output: Mapping[str, Any]  # as it is written there


def has_pointer(path: Path) -> bool:
    """Say whether there is a pointer. An empty one does not count: a kill leaves it when DVC is about to write it."""
    return path.exists() and path.stat().st_size > 0


def read_pointer(path: Path) -> Pointer:
    """Read the pointer beside a bag; raise `VersioningError` if it can't be read, or leads anywhere else."""
    file = YamlFile.read(path, VersioningError)
    try:
        (output,) = file.value["outs"]
        md5, files, named = check_md5(output["md5"]), output["nfiles"], output["path"]
        others = [*(file.value.keys() - _STAGE), *(output.keys() - _OUTPUT)]
        if type(files) is not int:
            raise TypeError("nfiles is not a number")
    except (TypeError, LookupError, ValueError, AttributeError) as error:
        raise _wrong(path, type(error).__name__) from error
    if others:
        raise _wrong(path, f"{min(others)!r}, which can lead DVC elsewhere")
    if named != path.name.removesuffix(".dvc"):
        raise _wrong(path, f"the path {named!r}")
    return Pointer(md5, files, output)


def format_pointer(md5: object, size: object, files: object, name: str) -> bytes:
    """Return a pointer as DVC writes it.

    Args:
        md5: DVC's name of the listing.
        size: bytes of all files.
        files: their number.
        name: of the bag's folder.
    """
    output = {"md5": md5, "size": size, "nfiles": files, "hash": "md5", "path": name}
    return yaml.safe_dump({"outs": [output]}, sort_keys=False).encode()


def is_plain(path: Path) -> bool:
    """Whether a pointer holds nothing, not even a comment, that would be lost if it were rewritten."""
    _, files, output = read_pointer(path)
    return not path.is_symlink() and path.read_bytes() == format_pointer(
        output["md5"], output.get("size"), files, output["path"]
    )


def is_written_alike(name: str) -> bool:
    """Whether the YAML libraries of DVC and of datapack write a name in the same way.

    To one of them ``yes`` is a truth, and to both ``1e3`` is a number; one gives a long name a line of its own.
    """
    return name[0].isalpha() and len(name) <= _LONGEST and isinstance(yaml.safe_load(name), str)


def _wrong(path: Path, found: str) -> VersioningError:
    fix = "restore it with git, or remove it to fetch the version from its sources"
    return VersioningError("DVC's pointer can't be read", where=path, expected=_EXPECTED, found=found, fix=fix)
