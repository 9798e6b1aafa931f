"""Pin: find out which image the catalog's base is now, and write its digest into the catalog."""

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
    """What the catalog's base was, as it stood there, and what it is now."""

    old: str
    new: str


def pin(workspace: Workspace, image: str | None = None) -> Pinned:
    """Write the digest that a registry has now for the catalog's base into the catalog; nothing else in it changes.

    Args:
        workspace: its catalog may name the base without a digest, as people do.
        image: ``NAME:TAG`` to take in the place of the one that the catalog names.

    Raises:
        UsageError: ``image`` is no image of a registry.
        CatalogError: what the catalog names is none, or can't be changed in its place.
        ImageError: the registry does not have it, or not for linux/amd64.
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
    """Return what stands in the catalog."""
    try:
        text = file.get(PLACE)
    except (KeyError, TypeError, IndexError):
        text = None
    if not isinstance(text, str):
        raise CatalogError(
            "the catalog names no base",
            where=file.where(PLACE),
            expected="defaults: {base: NAME:TAG}",
            fix="write one there, such as docker.io/library/alpine:3.22",
        )
    return text


def _full_name(text: str, file: YamlFile | None) -> ImageName:
    """Read an image's name as Docker completes it, without a digest. It stands in ``file``, or nowhere yet."""
    registry, slash, _ = text.partition("/")
    complete = text if slash and ("." in registry or ":" in registry) else f"{_HUB}/{text}"
    try:
        if text.startswith("oci:"):
            raise UsageError("a base that is on disk has no digest to look up", where=repr(text), expected=_EXPECTED)
        name = ImageName.parse(complete)
        if not name.tag:
            raise UsageError("no tag to look up", where=repr(text), expected=_EXPECTED)
    except UsageError as error:
        if file is None:
            raise
        where, fix = file.where(PLACE), "'datapack base NAME:TAG' sets another one"
        raise CatalogError(error.what, where=where, expected=error.expected, found=repr(text), fix=fix) from error
    if name.registry == _HUB and "/" not in name.repository:
        name = replace(name, repository=f"library/{name.repository}")
    return replace(name, digest="")


def _write(workspace: Workspace, old: str, new: str) -> None:
    """Write the catalog with another base in it, with the permissions that it has, where it is."""
    file = YamlFile.read(workspace.catalog)  # again: a registry may be slow, and an editor open
    if _written(file) != old:
        raise CatalogError(
            "the base in the catalog was changed meanwhile", where=file.where(PLACE), fix="run this again"
        )
    content = file.with_value(PLACE, new).text.encode()
    path = workspace.catalog.resolve()  # a link stays one
    with atomic_writer(path) as out:
        os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode))
        out.write(content)
