"""Pin the bases of Dockerfiles: write the current digest of each tag into its file.

    python scripts/pin_bases.py DOCKERFILE...

A Dockerfile names its base as ``ARG BASE="REGISTRY/NAME:TAG"``; after the first run, ``@sha256:...`` follows.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from datapack.errors import DatapackError, ImageError
from datapack.files import atomic_writer
from datapack.image.base import resolve
from datapack.registry import ImageName
from datapack.workspace.folder import Workspace

EXPECTED = 'one line ARG BASE="REGISTRY/NAME:TAG"'

_LINE = re.compile(r'^ARG BASE="([^"]*)"$', re.MULTILINE)


def main(paths: list[Path]) -> None:
    """Pin the base of each Dockerfile; print the result."""
    for path, new in pin_bases(paths, Workspace.find(Path()).bases).items():
        print(f"{path}: {new}")


def pin_bases(dockerfiles: list[Path], cache: Path) -> dict[Path, ImageName]:
    """Write the digest of each base into its Dockerfile; return the bases.

    All digests are looked up before the first file is written.

    Args:
        dockerfiles: the files; nothing else in them changes.
        cache: where `resolve` keeps what it fetches.

    Raises:
        ImageError: a Dockerfile names no base, or its registry does not have it for linux/amd64.
        UsageError: a Dockerfile names something that is not an image in a registry.
    """
    named = {path: _base(path) for path in dockerfiles}
    pinned = {path: replace(name, digest=resolve(str(name), cache)) for path, name in named.items()}
    for path, name in pinned.items():
        text = path.read_text(encoding="utf-8")
        new = _LINE.sub(f'ARG BASE="{name}"', text)
        if new != text:
            with atomic_writer(path) as file:
                file.write(new.encode())
    return pinned


def _base(dockerfile: Path) -> ImageName:
    """Read the base of a Dockerfile, without a digest."""
    found = _LINE.findall(dockerfile.read_text(encoding="utf-8"))
    if len(found) != 1:
        raise ImageError("names no base", where=dockerfile, expected=EXPECTED, found=f"{len(found)} such lines")
    name = replace(ImageName.parse(found[0]), digest="")
    if not name.tag:
        raise ImageError("the base has no tag to look up", where=dockerfile, expected=EXPECTED, found=found[0])
    return name


if __name__ == "__main__":
    try:
        main([Path(argument) for argument in sys.argv[1:]])
    except (DatapackError, OSError) as error:
        sys.exit(f"error: {error}")
