"""Build: from a catalog entry to an image at its target. `build` is the whole tool."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from datapack.bag.bagit import reread_tags
from datapack.build.attachments import attachments, image_sbom
from datapack.build.locked import check_base, check_image, image_in, with_image
from datapack.build.plan import check_one_image
from datapack.build.planner import Planner
from datapack.build.runnable import check_is_model, check_layers, check_model
from datapack.build.writer import LayerCache, LayerWriter
from datapack.catalog.git import last_commit
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.catalog.packing import encode
from datapack.errors import UsageError
from datapack.fetch.findings import summarize
from datapack.fetch.job import FetchJob, FetchOptions
from datapack.fetch.version import FetchedVersion, fetch_version
from datapack.image.base import Base, open_base
from datapack.image.base_rules import rules_of
from datapack.image.config import Image, compose, dataset_folder, labels
from datapack.image.layers import Layer, data_layers, program_layer, tag_layer
from datapack.metadata import provenance, sbom
from datapack.oci.layout import Layout
from datapack.targets import Delivery, check_target, open_target
from datapack.workspace.cache import HashCache
from datapack.workspace.folder import keep_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from datapack.bag.bagit import Bag
    from datapack.build.plan import Group
    from datapack.catalog.model import Entry
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.targets import Target
    from datapack.workspace.folder import Workspace


@dataclass(frozen=True)
class Options(FetchOptions):
    """Options of a build."""

    target: str | None = None  # by default oci:dist/<name>-<version>
    base: str | None = None  # by default the catalog's
    runnable: str | None = None  # the trainer image of a ready-to-run model; None for an import container
    verify: bool = False  # hash every file, even unchanged ones
    streams: int = 4  # parallel uploads to a registry
    insecure: bool = False  # accept a registry without TLS, or with an untrusted certificate
    replace: bool = False  # replace a different image with the same name in a registry
    allow_public: bool = False  # push a private dataset even into a repository that everybody can read

    def __post_init__(self) -> None:
        if self.streams < 1:
            raise ValueError(f"streams must be at least 1, not {self.streams}")


@dataclass(frozen=True)
class Built:
    """The result of a build."""

    bag: Bag
    image: Image
    target: str  # where the image is
    provenance: Path  # the file that says what the image was made from


def build(workspace: Workspace, reference: Reference, options: Options, reporter: Reporter) -> Built:
    """Build the image of a version, from its catalog entry to the image at its target.

    Raises:
        DatapackError: says what is wrong and what to do. Nothing unfinished has a final name then, and the same call
            resumes where this one stopped.
    """
    catalog, commit = Catalog.read(workspace.catalog), last_commit(workspace.catalog)
    entry = catalog.entry(reference)
    runnable = options.runnable is not None
    if runnable and options.base is not None:
        raise UsageError("two bases", where=reference, found="--base and --runnable", fix="leave --base out")
    if runnable:
        check_is_model(entry)
    if options.target is not None:
        check_target(options.target, entry, runnable=runnable)
    with workspace.exclusive(f"build {reference}"), HashCache.open(workspace.hashes) as cache:
        lock = Lock.read(workspace.lock)
        wanted = options.runnable or options.base or entry.base
        base = open_base(wanted, workspace.root, workspace.bases, reporter, rules_of(runnable=runnable))
        check_base(lock.entries.get(reference), reference, base, runnable=runnable, update_lock=options.update_lock)
        target = _open_target(workspace, entry, base, options, cache, reporter)
        planner = Planner(workspace, catalog, reporter, partial(_fetch, workspace, cache, reporter))
        bag, groups, lock = planner.plan_version(entry, options, lock)
        layers = image_layers(bag, reference, groups, base if runnable else None)
        locked = lock.entries[reference]
        with target as destination:
            if entry.dataset.private and options.target is None:
                _keep_private(workspace.dist(reference, runnable=runnable))
            writer = LayerWriter(destination, LayerCache(bag, reference, cache, verify=options.verify), reporter)
            earlier = image_in(locked, runnable=runnable)
            descriptors = writer.write(base, layers, earlier.layers if earlier else ())
            facts = labels(entry, base, runnable=runnable)
            image = compose(base, reference, facts, bag.manifest.digest, layers, descriptors)
            made = with_image(locked, image, base, entry.version.parent, encode(groups))
            check_image(image, locked, made, update_lock=options.update_lock)
            checked = summarize(workspace, entry, bag, reporter)
            parts = image_sbom(entry, base, bag, image, layers)
            statement = provenance.statement(entry, base, bag, image, locked, commit, checked, parts)
            attached = attachments(workspace, entry, bag, image, layers, descriptors, statement, parts, reporter)
            name = destination.commit(image, attached)
        lock.with_entry(reference, made).write_unless(lock, workspace.lock)
        written = provenance.write(workspace, image, options.target, statement)
        sbom.write(written, parts)
    return Built(bag, image, name, written)


def _fetch(
    workspace: Workspace, cache: HashCache, reporter: Reporter, entry: Entry, options: FetchOptions, lock: Lock
) -> FetchedVersion:
    return fetch_version(FetchJob(workspace, cache, reporter, lock, entry, options))


def image_layers(bag: Bag, reference: Reference, groups: Sequence[Group], trainer: Base | None = None) -> list[Layer]:
    """Return the layers that carry a bag: the payload and the tag files, and without a ``trainer`` the import program.

    Those with the payload and the tag files are the same in an import container and on a trainer image.

    Raises:
        ImageError: the bag does not fit into one image.
        BagError: it is to go on a trainer image, but is not that of a model.
    """
    check_one_image(groups, where=reference)
    folder = dataset_folder(reference)
    carrying = [*data_layers(groups, bag.path, folder), tag_layer(reread_tags(bag), folder)]
    if trainer is None:
        return [program_layer(), *carrying]
    check_model(bag)
    check_layers(trainer, carrying)
    return carrying


def _open_target(
    workspace: Workspace, entry: Entry, base: Base, options: Options, cache: HashCache, reporter: Reporter
) -> AbstractContextManager[Target]:
    runnable = options.runnable is not None
    delivery = Delivery(
        folder=workspace.root,
        entry=entry,
        base=base,
        runnable=runnable,
        others=(Layout(workspace.dist(entry.reference)), base.layout) if runnable else (),
        cache=cache,
        reporter=reporter,
        verify=options.verify,
        streams=options.streams,
        insecure=options.insecure,
        replace=options.replace,
        allow_public=options.allow_public,
    )
    # relative, as the name of the root may have a colon
    default = workspace.dist(entry.reference, runnable=runnable).relative_to(workspace.root)
    return open_target(options.target or f"oci:{default}", delivery)


def _keep_private(layout: Path) -> None:
    """Let nobody but the owner into the default target, before it holds the data."""
    keep_private(layout if layout.exists() else layout.with_name(f"{layout.name}.partial"))
