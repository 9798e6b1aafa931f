"""Names of files that DVC can't keep."""

from __future__ import annotations

import re

from datapack.errors import FetchError

# DVC skips .git, .hg/ and .dvc, and every folder that holds a .dvc; it obeys .dvcignore, and reads dvc.yaml and *.dvc
# as its own. To it, other names, such as .gitignore, .gitattributes and dvc.lock, are files like any other.
_KEPT_BY_NO_DVC = re.compile(
    r"(?:\A|/)(?:(?P<part>\.git|\.dvc|\.dvcignore|\.hg(?=/))(?:/|\Z)|(?P<name>dvc\.yaml|[^/]*\.dvc)\Z)"
)
_DEEPEST = 100
_SHOWN = 60  # characters of a path that is too deep


def check_name(path: str, where: object) -> None:
    """Raise `FetchError` for a path in a payload that DVC would skip, obey or read as its own, or that is too deep."""
    if path.count("/") > _DEEPEST:
        deep = f"a file in more than {_DEEPEST} folders"
        raise FetchError(deep, where=where, found=f"{path[:_SHOWN]}...", fix="many programs can't follow it: pack it")
    if found := _KEPT_BY_NO_DVC.search(path):
        name = found["part"] or found["name"]
        raise FetchError(
            f"{path} can't be in a dataset",
            where=where,
            found=f"the name {name}, which DVC keeps for itself or ignores",
            fix=f"leave it out with 'exclude: [{name}]', or give it another name",
        )
