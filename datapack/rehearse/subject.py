"""The image of a rehearsal: one that the engine has, or one on this disk, or the one in the lock for a version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datapack.catalog.lock import Lock, LockedImage
from datapack.catalog.model import Catalog
from datapack.engine import Engine, engine_errors
from datapack.errors import ImageError, UsageError
from datapack.image.config import ENTRYPOINT, dataset_of
from datapack.image.stand_in import STAND_IN
from datapack.oci.archive import Archive
from datapack.oci.image import StoredImage, read_image
from datapack.oci.layout import Layout
from datapack.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from docker import DockerClient
    from docker.models.images import Image

    from datapack.progress import Reporter
    from datapack.workspace.folder import Workspace

_BLOCK = 1 << 20
STORED_FORMS = "name@version, oci:DIR[:TAG] or oci-archive:FILE[:TAG]"


@dataclass(frozen=True)
class Dataset:
    """The dataset that an import container names: its version and its dataset digest."""

    reference: Reference
    digest: str


@dataclass(frozen=True)
class Subject:
    """An image: the name the user gave, what its runtime calls it, and its dataset if it is an import container."""

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
        if what.startswith(("oci:", "oci-archive:")):
            fix = "rehearse its name@version, which datapack loads into the engine, or use --launch apptainer"
            raise UsageError("an engine runs no image on disk", where=what, fix=fix)
        image = _get(client, what)
        if image is None:
            raise ImageError(
                "the engine has no such image",
                where=what,
                fix="pull or load it, or name a version: name@version",
            )
    else:
        image = _load(client, reference, workspace, base, reporter)
    return _subject(what, str(image.id), image.attrs.get("Config") or {})


def find_stored(what: str, folder: Path, workspace: Workspace | None, base: str | None, reporter: Reporter) -> Subject:
    """Find the image that ``what`` names on this disk; build it if it is a version whose image is not there.

    Args:
        what: one of `STORED_FORMS`.
        folder: where relative paths start.
        workspace: where a version's lock and bag are; None outside any.
        base: what the version's image is based on, instead of the catalog's base.
        reporter: notified when the image is built.

    Raises:
        UsageError: it is none of these forms, or a version is named, but there is no catalog.
        ImageError: there is no such image.
    """
    form, _, name = what.partition(":")
    reference = _reference(what)
    storage: Layout | Archive
    if form == "oci" and name:
        storage = Layout.at(folder, name)
    elif form == "oci-archive" and name:
        storage = Archive.at(folder, name)
    elif reference:
        storage = _built(reference, workspace, base, reporter)
    else:
        raise UsageError("apptainer runs images on this disk", where=repr(what), expected=STORED_FORMS)
    image = read_image(storage, storage.image(), what)
    _check_layers(image, what, reporter)
    path, form = (storage.root, "oci") if isinstance(storage, Layout) else (storage.path, "oci-archive")
    source = f"{form}:{path}:{storage.tag}".removesuffix(":")
    return _subject(what, source, image.config.get("config") or {})


def _check_layers(image: StoredImage, name: str, reporter: Reporter) -> None:
    """Raise `ImageError` if a layer has other bytes than its digest says: apptainer would run them all the same."""
    with reporter.progress(f"checking {name}", sum(layer.size for layer in image.layers), "B") as advance:
        for layer in image.layers:
            hasher = hashlib.sha256()
            with image.storage.open(layer) as file:
                while block := file.read(_BLOCK):
                    hasher.update(block)
                    advance(len(block))
            if (found := f"sha256:{hasher.hexdigest()}") != layer.digest:
                raise ImageError(
                    "damaged: the bytes do not match the digest",
                    where=image.storage.locate(layer),
                    expected=layer.digest,
                    found=found,
                )


def _subject(name: str, image: str, config: Mapping[str, Any]) -> Subject:
    """Read from an image's configuration what it is."""
    dataset = dataset_of(config.get("Env") or ()) if config.get("Entrypoint") == ENTRYPOINT else None
    stand_in = STAND_IN in (config.get("Labels") or {})
    return Subject(name, image, Dataset(*dataset) if dataset else None, stand_in)


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

    workspace, locked = _locked(reference, workspace)
    image_id = Engine.ask(client).image_id(locked.digest, locked.id)
    image = _get(client, image_id)
    if image is None:
        reporter.note(f"loading {reference} into the engine")
        build(workspace, reference, Options(target="docker-daemon:", base=base), reporter)
        image = _get(client, image_id)
    if image is None:
        raise ImageError("the engine does not have the image that was loaded", where=reference)
    return image


def _built(reference: Reference, workspace: Workspace | None, base: str | None, reporter: Reporter) -> Layout:
    """Return the layout of the image in the lock, once it is there."""
    from datapack.build.build import Options, build

    workspace, locked = _locked(reference, workspace)
    layout = Layout(workspace.dist(reference))
    if not layout.index.exists() or layout.image().digest != locked.digest:
        reporter.note(f"building {reference}")
        build(workspace, reference, Options(base=base), reporter)
    return layout


def _locked(reference: Reference, workspace: Workspace | None) -> tuple[Workspace, LockedImage]:
    """Return the image that the lock has of a version."""
    if workspace is None:
        raise UsageError("no datasets.yml here or in any folder above", where=reference, fix="name its folder with -C")
    entry = Lock.read(workspace.lock).entries.get(reference)
    if entry is None or entry.image is None:
        Catalog.read(workspace.catalog).entry(reference)  # or it says that there is no such version to build
        raise ImageError(
            "its image has not been built", where=reference, fix=f"build it first: 'datapack build {reference}'"
        )
    return workspace, entry.image
