"""Build a version from scratch, and compare the image digests of two builds.

    REF=reef@v1 python scripts/same_digest.py build                     prints the digest
    REF=reef@v1 python scripts/same_digest.py both                      builds twice on this machine, and compares
    FIRST=sha256:... SECOND=sha256:... python scripts/same_digest.py compare

An image that two machines build bit for bit is one that neither of them, and nobody between them, has changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from datapack.errors import DatapackError, MismatchError, UsageError
from datapack.hashing import is_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).parents[1]
#: What must not matter: the time zone, the language, the rights of new files and the number of cores.
SETTINGS: tuple[dict[str, str], ...] = (
    {"TZ": "UTC", "LC_ALL": "C", "UMASK": "022"},
    {"TZ": "Pacific/Auckland", "LC_ALL": "C.UTF-8", "UMASK": "077"},
)


def build(reference: str, folder: Path, base: str = "", settings: Mapping[str, str] | None = None) -> str:
    """Build a version of the project's catalog in an empty folder, without any cache, and return the image's digest.

    Args:
        reference: ``name@version``; its sources are the project's examples.
        folder: where to build.
        base: another base than the catalog's.
        settings: environment variables, and the ``UMASK``.
    """
    settings = dict(settings or {})
    for name in ("datasets.yml", "examples"):
        (shutil.copytree if (PROJECT / name).is_dir() else shutil.copy)(PROJECT / name, folder / name)
    subprocess.run(["git", "init", "--quiet", folder], check=True)  # noqa: S607 - whichever git the user has
    mask = int(settings.pop("UMASK", "022"), 8)
    command = [sys.executable, "-m", "datapack", "build", reference, "--json", *(["--base", base] if base else [])]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), **settings}
    done = subprocess.run(
        command, cwd=folder, env=environment, umask=mask, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    return str(json.loads(done.stdout)["image"])


def compare(first: str, second: str) -> str:
    """Return the digest of two builds; raise `MismatchError` if they differ, `UsageError` if one is missing."""
    for name, digest in (("FIRST", first), ("SECOND", second)):
        if not is_digest(digest):
            raise UsageError("not a digest", where=name, expected="sha256:...", found=repr(digest))
    if first != second:
        raise MismatchError("two builds gave two images", where="SECOND", expected=first, found=second)
    return first


def main(what: str, variables: Mapping[str, str]) -> str:
    """Do what was asked for, and return what to print."""
    if what == "compare":
        return f"the same image: {compare(variables.get('FIRST', ''), variables.get('SECOND', ''))}"
    reference, base = variables.get("REF", "") or "reef@v1", variables.get("BASE", "")
    with tempfile.TemporaryDirectory() as place:
        found = []
        for number, settings in enumerate(SETTINGS if what == "both" else SETTINGS[:1]):
            folder = Path(place, f"build-{number}")
            folder.mkdir()
            found.append(build(reference, folder, base, settings if what == "both" else None))
            print(f"{reference} {found[-1]}", file=sys.stderr, flush=True)
        return f"the same image: {compare(*found)}" if what == "both" else found[0]


if __name__ == "__main__":
    try:
        print(main(sys.argv[1], os.environ))
    except (DatapackError, OSError) as error:
        sys.exit(f"error: {error}")
