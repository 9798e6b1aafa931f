"""Write the sha256 of every wheel that an image could install into its list of packages.

    python scripts/lock.py LIST...      as `make lock` does

A list has a line ``name==version`` for each package; the hashes below it are written anew. With them, pip refuses a
file that is not the one which PyPI had when the list was written, wherever it comes from. Only wheels are listed that
fit the bases: CPython 3.11 to 3.13 on Linux, x86_64. Nothing is installed from sources, which would run their code.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from packaging.tags import Tag, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version
from pip._internal.models.index import PyPI  # the public index, whichever mirror this machine installs from

from datapack.files import atomic_writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PYTHONS = ((3, 11), (3, 12), (3, 13))
_GLIBC = range(5, 40)  # the minor versions that a wheel may ask for
PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in reversed(_GLIBC)),
    "manylinux2014_x86_64",
    "manylinux1_x86_64",
]
TAGS = frozenset(
    tag for python in PYTHONS for tag in (*cpython_tags(python, platforms=PLATFORMS), Tag("py3", "none", "any"))
)
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!-]+)")
_ACCEPT = {"Accept": "application/vnd.pypi.simple.v1+json"}
_TIMEOUT = 60  # seconds


def fits(filename: str, version: str) -> bool:
    """Whether a file of a package is a wheel of a version for one of the bases."""
    try:
        _, found, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return False
    universal = any(tag.abi == "none" and tag.platform == "any" and "3" in tag.interpreter for tag in tags)
    # A wheel for Linux with any interpreter, as those of CUDA, has the tag py3-none-manylinux...
    any_python = any(
        tag.abi == "none" and tag.interpreter.startswith("py3") and tag.platform in PLATFORMS for tag in tags
    )
    return found == Version(version) and (universal or any_python or not TAGS.isdisjoint(tags))


def hashes(name: str, version: str, files: Iterable[dict[str, Any]]) -> list[str]:
    """Return the sha256 of each file of a version that fits, sorted; end the program where there is none."""
    found = {file["hashes"]["sha256"] for file in files if not file.get("yanked") and fits(file["filename"], version)}
    if not found:
        sys.exit(f"error: {name}=={version}: no wheel for the bases, or a withdrawn one: choose another version")
    return sorted(found)


def ask(name: str) -> list[dict[str, Any]]:
    """Return the files that PyPI has of a package."""
    answer = requests.get(f"{PyPI.simple_url}/{canonicalize_name(name)}/", headers=_ACCEPT, timeout=_TIMEOUT)
    answer.raise_for_status()
    files: list[dict[str, Any]] = answer.json()["files"]
    return files


def lines(path: Path) -> Iterator[str]:
    """Yield a list's lines with the hashes of today."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip().startswith("--hash="):
            pin = _PIN.match(line)
            found = hashes(pin[1], pin[2], ask(pin[1])) if pin else []
            yield " \\\n    ".join([line.removesuffix("\\").rstrip(), *(f"--hash=sha256:{digest}" for digest in found)])


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        text = "\n".join(lines(path)) + "\n"
        with atomic_writer(path) as file:
            file.write(text.encode())
        print(f"{path}: {text.count('--hash=')} hashes")
