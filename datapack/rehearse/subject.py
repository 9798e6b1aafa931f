"""The image of a rehearsal: one that the engine has, or the one in the lock for a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapack.catalog.lock import Lock
from datapack.engine import Engine, engine_errors
from datapack.errors import ImageError, UsageError
from datapack.image.config import ENTRYPOINT, dataset_of
from datapack.image.stand_in import STAND_IN
from datapack.reference import Reference

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Dataset:
    """The dataset that an import container names: its version and its dataset digest."""

    reference: Reference
    digest: str


@dataclass(frozen=True)
class Subject:
    """An image in the engine: the name the user gave, its id, and its dataset if it is an import container."""

    name: str
    id: str
    dataset: Dataset | None
    stand_in: bool  # whether it is based on the stand-in of tests and the demo


def find_subject(
    client: DockerClient, what: str, workspace: Workspace | None, base: str | None, reporter: Reporter
) -> Subject:
    """Find the image that ``what`` names in the engine; load it there if it is a version that the engine lacks.

    Args:
        client: the engine.
        what: ``name@version``, or the name or id of an image.
        workspace: where a version's lock and bag are; None outside any.
        base: what the version's image is based on, instead of the catalog's base.
        reporter: notified when the image is loaded.

    Raises:
        UsageError: a version is named, but there is no catalog.
        ImageError: there is no such image.
        DatapackError: the image can't be loaded.
    """
    reference = _reference(what)
    if reference is None:
        image = _get(client, what)
        if image is None:
            raise ImageError(
                "the engine has no such image",
                where=what,
                fix="pull or load it, or name a version: name@version",
            )
    else:
        image = _load(client, reference, workspace, base, reporter)
    config = image.attrs.get("Config") or {}
    dataset = dataset_of(config.get("Env") or ()) if config.get("Entrypoint") == ENTRYPOINT else None
    stand_in = STAND_IN in (config.get("Labels") or {})
    return Subject(what, str(image.id), Dataset(*dataset) if dataset else None, stand_in)


def _reference(what: str) -> Reference | None:
    """Read ``name@version``. An image's digest follows an @ too, but no version contains a colon."""
    try:
        return Reference.parse(what)
    except UsageError:
        return None


def _get(client: DockerClient, name: str) -> Image | None:
    from docker.errors import ImageNotFound, NullResource

    with engine_errors("the engine can't find this image", where=repr(name)):
        try:
            return client.images.get(name)
        except (ImageNotFound, NullResource):
            return None


def _load(
    client: DockerClient, reference: Reference, workspace: Workspace | None, base: str | None, reporter: Reporter
) -> Image:
    """Return the image in the lock, once the engine has it."""
    from datapack.build.build import Options, build

    if workspace is None:
        raise UsageError("no datasets.yml here or in any folder above", where=reference, fix="name its folder with -C")
    locked = Lock.read(workspace.lock).entries.get(reference)
    if locked is None or locked.image is None:
        raise ImageError(
            "its image has not been built", where=reference, fix=f"build it first: 'datapack build {reference}'"
        )
    image_id = Engine.ask(client).image_id(locked.image.digest, locked.image.id)
    image = _get(client, image_id)
    if image is None:
        reporter.note(f"loading {reference} into the engine")
        build(workspace, reference, Options(target="docker-daemon:", base=base), reporter)
        image = _get(client, image_id)
    if image is None:
        raise ImageError("the engine does not have the image that was loaded", where=reference)
    return image
