"""Pin: look up the digest of the catalog's base in its registry, and write it into the catalog."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datapack.errors import CatalogError, UsageError
from datapack.files import atomic_writer
from datapack.image.base import resolve
from datapack.registry import ImageName
from datapack.yamlfile import YamlFile

if TYPE_CHECKING:
    from datapack.workspace.folder import Workspace
    from datapack.yamlfile import Place


PLACE: Place = ("defaults", "base")
_HUB = "docker.io"
_EXPECTED = "NAME:TAG, such as docker.io/library/alpine:3.22"


@dataclass(frozen=True)
class Pinned:
    """The catalog's base before and after pinning."""

    old: str
    new: str


def pin(workspace: Workspace, image: str | None = None) -> Pinned:
    """Write the current digest of the catalog's base into the catalog; nothing else in it changes.

    Args:
        workspace: the workspace; its catalog may name the base without a digest.
        image: ``NAME:TAG`` to use instead of the base in the catalog.

    Raises:
        UsageError: ``image`` is not the name of an image in a registry.
        CatalogError: the catalog names no image of a registry, or its text can't be changed in place.
        ImageError: the registry does not have the image, or not for linux/amd64.
    """
    with workspace.exclusive("base"):
        file = YamlFile.read(workspace.catalog)
        old = _written(file)
        name = _full_name(image or old, None if image else file)
        new = str(replace(name, digest=resolve(str(name), workspace.bases)))
        if new != old:
            _write(workspace, old, new)
    return Pinned(old, new)


def _written(file: YamlFile) -> str:
    """Return the base as written in the catalog."""
    try:
        text = file.get(PLACE)
    except (KeyError, TypeError, IndexError):
        text = None
    if not isinstance(text, str):
        raise CatalogError(
            "the catalog names no base",
            where=file.where(PLACE),
            expected="defaults: {base: NAME:TAG}",
            fix="add one, such as docker.io/library/alpine:3.22",
        )
    return text


def _full_name(text: str, file: YamlFile | None) -> ImageName:
    """Complete an image's name as Docker does, without a digest. ``file`` is the catalog that names it, if any."""
    registry, slash, _ = text.partition("/")
    complete = text if slash and ("." in registry or ":" in registry) else f"{_HUB}/{text}"
    try:
        if text.startswith("oci:"):
            raise UsageError("a base on disk has no digest to look up", where=repr(text), expected=_EXPECTED)
        name = ImageName.parse(complete)
        if not name.tag:
            raise UsageError("no tag to look up", where=repr(text), expected=_EXPECTED)
    except UsageError as error:
        if file is None:
            raise
        where, fix = file.where(PLACE), "set another with 'datapack base NAME:TAG'"
        raise CatalogError(error.what, where=where, expected=error.expected, found=repr(text), fix=fix) from error
    if name.registry == _HUB and "/" not in name.repository:
        name = replace(name, repository=f"library/{name.repository}")
    return replace(name, digest="")


def _write(workspace: Workspace, old: str, new: str) -> None:
    """Write the catalog with another base, in the same place and with the same permissions."""
    file = YamlFile.read(workspace.catalog)  # again: the user may have edited it while the registry answered
    if _written(file) != old:
        raise CatalogError(
            "the base in the catalog changed in the meantime", where=file.where(PLACE), fix="run this again"
        )
    content = file.with_value(PLACE, new).text.encode()
    path = workspace.catalog.resolve()  # a link stays a link
    with atomic_writer(path) as out:
        os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode))
        out.write(content)
