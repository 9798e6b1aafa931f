"""What belongs to an image in a registry and is attached to it: provenance, SBOM, signatures, what a model is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from datapack.build.runnable import check_model
from datapack.errors import BagError, ManifestError
from datapack.metadata import sbom
from datapack.registry.referrers import provenance
from datapack.signing.artifact import kept_signatures
from datapack.signing.files import files_beside
from datapack.signing.provenance import ProvenanceSubject
from datapack.signing.subject import DatasetSubject, ImageSubject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datapack.bag.bagit import Bag
    from datapack.catalog.model import Entry
    from datapack.image.base import Base
    from datapack.image.config import Image
    from datapack.image.layers import Layer
    from datapack.oci.spec import Descriptor
    from datapack.progress import Reporter
    from datapack.registry.referrers import Artifact
    from datapack.signing.subject import Subject
    from datapack.workspace.folder import Workspace


def attachments(
    workspace: Workspace,
    entry: Entry,
    bag: Bag,
    image: Image,
    layers: Sequence[Layer],
    descriptors: Sequence[Descriptor],
    statement: bytes,
    parts: bytes,
    reporter: Reporter,
) -> Iterator[Artifact]:
    """Yield what to attach to an image: its provenance, its SBOM, signatures that are kept here, a model's manifest.

    Args:
        workspace: where signatures of the bag, and of the image's layout, may be.
        entry: the version in the catalog.
        bag: its bag.
        image: the image.
        layers: the layers above the base, lowest first.
        descriptors: the same layers as written.
        statement: the image's provenance.
        parts: its SBOM.
        reporter: is told of signatures that are of something else.
    """
    yield provenance(statement)
    yield sbom.artifact(parts)
    layout = workspace.dist(entry.reference, runnable=image.runnable)
    kept = [*files_beside(workspace.bag(entry.reference)), *files_beside(layout)]
    subjects: list[Subject] = [
        DatasetSubject(str(entry.reference), bag.manifest.digest),
        ImageSubject(image.digest),
        ProvenanceSubject(image.digest, statement),
    ]
    yield from kept_signatures(kept, subjects, reporter)
    if entry.is_model:
        yield from _modelpack(entry, bag, image, layers, descriptors, reporter)


def image_sbom(entry: Entry, base: Base, bag: Bag, image: Image, layers: Sequence[Layer]) -> bytes:
    """Return the SBOM of an image; raise `ImageError` if a layer of its base is damaged."""
    facts = None
    if entry.is_model:
        with contextlib.suppress(BagError, ManifestError):  # it is described as any data
            facts = check_model(bag)
    return sbom.sbom(entry, base, bag, image, layers, facts)


def _modelpack(
    entry: Entry,
    bag: Bag,
    image: Image,
    layers: Sequence[Layer],
    descriptors: Sequence[Descriptor],
    reporter: Reporter,
) -> Iterator[Artifact]:
    from datapack.metadata.modelpack import modelpack

    try:
        facts = check_model(bag)
    except (BagError, ManifestError) as error:  # the image is there and complete without it
        reporter.note(f"no ModelPack manifest: {error}")
        return
    yield modelpack(entry, facts, bag, image, layers, descriptors)
