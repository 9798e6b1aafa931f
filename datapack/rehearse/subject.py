"""What is rehearsed: an image that the engine has, or the one that the lock names for a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.catalog.lock import Lock
from datapack.engine import engine_errors
from datapack.errors import ImageError, UsageError
from datapack.image.base import STAND_IN
from datapack.image.config import ENTRYPOINT, dataset_of
from datapack.reference import Reference

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Dataset:
    """What an import container says that it brings: which version, and its dataset digest."""

    reference: Reference
    digest: str


@dataclass(frozen=True)
class Subject:
    """An image in the engine: what it was asked for as, its id, and what it brings if it is an import container."""

    name: str
    id: str
    dataset: Dataset | None
    stand_in: bool  # whether its base is the one of tests and the demo


def find_subject(
    client: DockerClient, what: str, workspace: Workspace | None, base: str | None, reporter: Reporter
) -> Subject:
    """Find what ``what`` names in the engine; bring it there if it is a version that the engine does not have.

    Args:
        client: the engine.
        what: ``name@version``, or the name or id of an image.
        workspace: where a version's lock and bag are; None outside any.
        base: what the version stands on, instead of the catalog's base.
        reporter: told what is brought.

    Raises:
        UsageError: a version outside of any catalog's folder.
        ImageError: there is no such image.
        DatapackError: the image can't be brought there.
    """
    reference = _reference(what)
    if reference is None:
        image = _get(client, what)
        if image is None:
            raise ImageError(
                "the engine has no such image",
                where=what,
                fix="pull or load it, or name a version as name@version",
            )
    else:
        image = _bring(client, reference, workspace, base, reporter)
    config = image.attrs.get("Config") or {}
    dataset = dataset_of(config.get("Env") or ()) if config.get("Entrypoint") == ENTRYPOINT else None
    stand_in = STAND_IN in (config.get("Labels") or {})
    return Subject(what, str(image.id), Dataset(*dataset) if dataset else None, stand_in)


def _reference(what: str) -> Reference | None:
    """Read ``name@version``; an image's digest has an @, too, but no version has a colon."""
    try:
        return Reference.parse(what)
    except UsageError:
        return None


def _get(client: DockerClient, name: str) -> Image | None:
    from docker.errors import ImageNotFound, NullResource

    with engine_errors("the engine can't look for this image", where=repr(name)):
        try:
            return client.images.get(name)
        except (ImageNotFound, NullResource):
            return None


def _bring(
    client: DockerClient, reference: Reference, workspace: Workspace | None, base: str | None, reporter: Reporter
) -> Image:
    """Return the image that the lock names, once the engine has it."""
    from datapack.build.build import Options, build

    if workspace is None:
        raise UsageError("no datasets.yml here or in any folder above", where=reference, fix="name its folder with -C")
    locked = Lock.read(workspace.lock).entries.get(reference)
    if locked is None or locked.image is None:
        raise ImageError(
            "no image of it was built", where=reference, fix=f"'datapack build {reference}' makes it, then rehearse it"
        )
    image = _get(client, locked.image.id)
    if image is None:
        reporter.note(f"bringing {reference} to the engine")
        build(workspace, reference, Options(target="docker-daemon:", base=base), reporter)
        image = _get(client, locked.image.id)
    if image is None:
        raise ImageError("the engine does not have the image that it was given", where=reference)
    return image
