"""Check that a tag of the repository is a version of the project, and that every trainer image has that version.

    TAG=v0.2.0 python scripts/release_check.py      in the project's folder

Otherwise, images would be pushed under another version than the one inside them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from image import TRAINERS, version_in

from datapack import __version__
from datapack.errors import DatapackError, MismatchError


def check(tag: str, version: str, dockerfiles: list[Path]) -> None:
    """Raise `MismatchError` if a tag is not ``v`` and the version, or a Dockerfile has another version."""
    if tag != f"v{version}":
        raise MismatchError("not the tag of this version", where="TAG", expected=f"v{version}", found=repr(tag))
    for dockerfile in dockerfiles:
        if (found := version_in(dockerfile)) != version:
            raise MismatchError("the image has another version", where=dockerfile, expected=version, found=found)


if __name__ == "__main__":
    try:
        check(os.environ.get("TAG", ""), __version__, [Path("docker", name, "Dockerfile") for name in TRAINERS])
    except (DatapackError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{os.environ['TAG']} is the version of the project and of {len(TRAINERS)} images")
